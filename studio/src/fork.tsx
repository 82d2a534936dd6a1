// Another creation from any step of one; and the tree of all that came about so.

import { useEffect, useState } from "preact/hooks";
import { call, type Creation } from "./api";
import { Pauses, Refused, Sheet, useWork } from "./parts";

export function ForkSheet({ view, at, number, label = "Fork from here" }: { view: Creation; at: string; number: number; label?: string }) {
  return (
    <Sheet label={label} title={`Fork from step ${number}`} class="plain small">
      {(close) => <Form view={view} at={at} close={close} />}
    </Sheet>
  );
}

function Form({ view, at, close }: { view: Creation; at: string; close: () => void }) {
  const [prompt, setPrompt] = useState(view.prompt);
  const [seed, setSeed] = useState("");
  const [pause, setPause] = useState<string[]>([]);
  const { busy, refused, work } = useWork();
  const submit = (event: Event) => {
    event.preventDefault();
    void work(async () => {
      const asked: Record<string, unknown> = { at, pause };
      if (prompt !== view.prompt) asked.prompt = prompt;
      if (seed !== "") asked.seed = Number(seed);
      const made = await call<Creation>(`/v1/creations/${view.id}/fork`, asked);
      close();
      location.hash = `#/${made.id}`;
    });
  };
  return (
    <form onSubmit={submit}>
      <p class="muted">This creation stays as it is. With nothing changed, the fork takes the next seed.</p>
      <label class="wide">Prompt<textarea dir="auto" rows={3} required maxLength={2000} value={prompt} onInput={(event) => setPrompt(event.currentTarget.value)} /></label>
      <label>Seed<input type="number" min="0" value={seed} placeholder="the next" onInput={(event) => setSeed(event.currentTarget.value)} /></label>
      <Pauses chosen={pause} choose={setPause} />
      <Refused why={refused} />
      <button type="submit" class="main" disabled={busy}>Fork</button>
    </form>
  );
}

/** The family of a creation, each under the one that it was forked from. */
export function Tree({ view }: { view: Creation }) {
  const [family, setFamily] = useState<Creation[]>([]);
  useEffect(() => {
    let gone = false;
    call<{ data: Creation[] }>(`/v1/creations/${view.id}/tree`).then(({ data }) => !gone && setFamily(data), () => undefined);
    return () => { gone = true; };
  }, [view.id, view.state]);
  if (family.length < 2) return null;
  const ids = new Set(family.map(({ id }) => id));
  const roots = family.filter(({ forked_from: from }) => !from?.creation || !ids.has(from.creation));
  return (
    <nav class="tree" aria-label="Forks">
      <h2>Forks</h2>
      <Branch members={roots} family={family} here={view.id} />
    </nav>
  );
}

function Branch({ members, family, here }: { members: Creation[]; family: Creation[]; here: string }) {
  return (
    <ul>
      {members.map((member) => {
        const forks = family.filter(({ id, forked_from: from }) => from?.creation === member.id && id !== member.id);
        return (
          <li key={member.id}>
            <a href={`#/${member.id}`} aria-current={member.id === here ? "page" : undefined} dir="auto">{member.prompt}</a>
            <span class="muted"> seed {member.seed}, {member.steps} steps, {member.state}</span>
            {forks.length > 0 && <Branch members={forks} family={family} here={here} />}
          </li>
        );
      })}
    </ul>
  );
}
