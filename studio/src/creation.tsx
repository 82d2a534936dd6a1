// One creation, live: the stage, what can be done now, the rounds, and the forks.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, listen, moved, Refusal, type About, type Told } from "./api";
import { Answer } from "./answer";
import { Chat } from "./chat";
import { ForkSheet, Tree } from "./fork";
import { Refused, useWork } from "./parts";
import { Stage } from "./stage";
import { after, entries as told, read, standing, type Story } from "./story";
import { Timeline } from "./timeline";

/** Milliseconds between looks at one that nobody works on. */
const LOOK = 5000;
const ENDED = ["waiting", "finished", "failed", "unfinished"];

export function CreationPage({ id, about }: { id: string; about: About | null }) {
  const { story, refused } = useStory(id);
  const [chosen, choose] = useState<number | null>(null);
  const entries = useMemo(() => (story ? told(story.steps) : []), [story?.steps]);
  useEffect(() => choose(null), [id]);
  useEffect(() => {
    document.title = story ? `${story.view.prompt.slice(0, 80)} · brushloop` : "brushloop";
  }, [story?.view.prompt]);
  if (!story)
    return (
      <main id="content" aria-busy={!refused}>
        <h1>{refused ? "This creation cannot be shown" : "Reading…"}</h1>
        {refused && <><Refused why={refused} /><p><a href="#/">All creations</a></p></>}
      </main>
    );

  const { view } = story;
  const painted = entries.filter(({ step }) => step.picture && step.kind !== "finish");
  const best = view.state === "finished" ? painted.findLast(({ after }) => after?.hash === view.picture?.hash) : undefined;
  const newest = best ?? painted.at(-1) ?? entries.at(-1);
  const entry = entries.find(({ number }) => number === chosen) ?? newest;
  const critique = [...story.steps].reverse().find((step) => step.critique)?.critique ?? null;
  return (
    <main id="content" tabIndex={-1} class="creation">
      <header class="title">
        <h1 dir="auto" class={view.prompt.length > 90 ? "long" : ""}>{view.prompt}</h1>
        <p class={`state ${view.state}`}>{standing(view)} <span class="muted">{view.steps} steps, seed {view.seed}</span></p>
        <Actions story={story} about={about} />
      </header>
      <div class="columns">
        <div class="now">
          <Stage view={view} entry={entry} />
          {chosen !== null && entry !== newest && <button type="button" class="plain" onClick={() => choose(null)}>Back to the newest</button>}
        </div>
        <div class="then">
          {view.state === "waiting" && <Answer key={view.head} view={view} about={about} picture={view.picture} critique={critique} />}
          <Chat key={view.id} view={view} />
          <Tree view={view} />
          <Timeline view={view} entries={entries} chosen={entry?.number ?? -1} choose={choose} />
        </div>
      </div>
      <p class="unseen" role="status">{story.steps.at(-1)?.text ? `Step ${story.steps.length - 1}: ${story.steps.at(-1)!.text}. ` : ""}{standing(view)}</p>
    </main>
  );
}

/** The story of a creation, kept up to date by its events. */
function useStory(id: string): { story: Story | null; refused: string } {
  const [story, setStory] = useState<Story | null>(null);
  const [refused, setRefused] = useState("");
  const now = useRef<Story | null>(null);
  useEffect(() => {
    let stop = () => {}, gone = false, timer = 0, waiting: Told[] = [];
    const begin = async () => {
      try {
        const found = await read(id);
        if (gone) return;
        setStory((now.current = found));
        setRefused("");
        stop();
        if (ENDED.includes(found.view.state)) return; // nothing comes before somebody acts
        stop = listen(id, found.view.events, (event) => {
          waiting.push(event);
          timer ||= window.setTimeout(flush, event.type === "denoise" ? 60 : 0);
        });
      } catch (error) {
        if (!gone) setRefused(error instanceof Refusal ? error.message : String(error));
      }
    };
    const flush = () => {
      timer = 0;
      const events = waiting;
      waiting = [];
      for (const event of events) {
        const next = now.current && after(now.current, event);
        if (!next) return void begin(); // the record was taken back, or went another way: read it again
        now.current = next;
      }
      setStory(now.current);
    };
    setStory((now.current = null));
    setRefused("");
    void begin();
    const again = () => void begin();
    const look = async () => { // others may have acted: nothing is streamed before somebody does
      const view = now.current?.view;
      if (!view || !ENDED.includes(view.state) || document.hidden) return;
      if (await moved(id, view.events).catch(() => false)) await begin();
    };
    const looking = window.setInterval(() => void look(), LOOK);
    window.addEventListener("acted", again);
    window.addEventListener("focus", look);
    return () => {
      gone = true;
      clearTimeout(timer);
      clearInterval(looking);
      stop();
      window.removeEventListener("acted", again);
      window.removeEventListener("focus", look);
    };
  }, [id]);
  return { story, refused };
}

function Actions({ story: { view, steps }, about }: { story: Story; about: About | null }) {
  const { busy, refused, work } = useWork();
  const act = (verb: string, body: unknown = {}) => () =>
    void work(async () => {
      await call(`/v1/creations/${view.id}/${verb}`, body);
      window.dispatchEvent(new Event("acted"));
    });
  const alive = !ENDED.includes(view.state);
  const again = view.state === "failed" || view.state === "unfinished" || view.stop_reason === "cancelled";
  return (
    <div class="actions">
      {alive && <button type="button" disabled={busy} onClick={act("interrupt")}>Pause</button>}
      {(alive || view.state === "waiting") && <button type="button" disabled={busy || view.cancelling} onClick={act("cancel")}>End with the best</button>}
      {again && <button type="button" disabled={busy} onClick={act("resume")}>Go on</button>}
      {steps.length > 0 && <ForkSheet view={view} at={view.head} number={steps.length - 1} label="Fork" />}
      <Export id={view.id} about={about} possible={view.picture !== null} />
      <Refused why={refused} />
    </div>
  );
}

/** Every form that a creation can be taken away in. */
function Export({ id, about, possible }: { id: string; about: About | null; possible: boolean }) {
  const menu = useRef<HTMLDetailsElement>(null);
  const [redact, setRedact] = useState(false);
  if (!possible || !about) return null;
  const shut = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    menu.current!.open = false;
    menu.current!.querySelector("summary")!.focus();
  };
  return (
    <details class="menu" ref={menu} onKeyDown={shut}>
      <summary>Export</summary>
      <div>
        <ul>
          {about.exports.map(({ name, suffix, about: what }) => (
            <li><a download href={`/v1/creations/${id}/export?format=${name}${redact ? "&redact=true" : ""}`}>{suffix} <span class="muted">{what}</span></a></li>
          ))}
        </ul>
        <label class="check"><input type="checkbox" checked={redact} onChange={(event) => setRedact(event.currentTarget.checked)} />without prompts and names</label>
      </div>
    </details>
  );
}
