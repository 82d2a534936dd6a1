// A conversation over a finished creation: what was said, what came of it, and what to say next.

import { useEffect, useState } from "preact/hooks";
import { call, type Creation, type Turn } from "./api";
import { Refused, Shown, useWork } from "./parts";

export function Chat({ view }: { view: Creation }) {
  const [turns, setTurns] = useState<Turn[]>([]);
  const [said, setSaid] = useState("");
  const { busy, refused, work } = useWork();
  const ready = view.state === "finished";
  useEffect(() => {
    let gone = false;
    call<{ data: Turn[] }>(`/v1/creations/${view.id}/chat`).then(({ data }) => !gone && setTurns(data), () => undefined);
    return () => { gone = true; };
  }, [view.id, ready ? view.head : ""]);
  const say = (words: string) =>
    void work(async () => {
      const there = await call<Creation>(`/v1/creations/${view.id}/chat`, { said: words, head: view.head });
      setSaid("");
      if (there.id !== view.id) location.hash = `#/${there.id}`;
      else window.dispatchEvent(new Event("acted"));
    });
  if (turns.length === 0 || (turns.length === 1 && !ready && view.task !== "chat")) return null;
  return (
    <section class="chat" aria-label="Conversation">
      <h2>Conversation</h2>
      {turns.length > 1 && (
        <ol>
          {turns.map(({ number, said: words, base, picture }) => (
            <li key={number}>
              <Shown picture={picture} alt={`Picture ${number}`} width={96} />
              <p>
                <span class="muted">{number}{base > 0 && base !== number - 1 && `, from ${base}`}</span> <span dir="auto">{words}</span>
                {number < turns.length && (
                  <button type="button" class="plain small" disabled={!ready || busy} aria-label={`Back to picture ${number}`} onClick={() => say(`back to picture ${number}`)}>Back to it</button>
                )}
              </p>
            </li>
          ))}
        </ol>
      )}
      <form onSubmit={(event) => (event.preventDefault(), say(said))}>
        <div class="row wide">
          <label class="wide">Say what to change
            <input type="text" dir="auto" required maxLength={2000} value={said} placeholder="add a rocket and make the cat blue" onInput={(event) => setSaid(event.currentTarget.value)} />
          </label>
          <button type="submit" class="main" disabled={!ready || busy}>Say</button>
        </div>
      </form>
      <Refused why={refused || (ready && view.error ? view.error.message : "")} />
    </section>
  );
}
