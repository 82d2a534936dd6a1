// The first view: ask for a picture, and all that were made.

import { useEffect, useState } from "preact/hooks";
import { call, opened, small, type About, type Creation, type Picture } from "./api";
import { Brush } from "./brush";
import { Pauses, Refused, useWork } from "./parts";

const EXAMPLES = ["a red mushroom, a cat and a rocket on a beach", "a red apple left of two cats on a beach"];

export function Home({ about }: { about: About | null }) {
  useEffect(() => { document.title = "brushloop"; }, []);
  return (
    <main id="content" tabIndex={-1}>
      <Ask about={about} />
      <Gallery />
    </main>
  );
}

function Ask({ about }: { about: About | null }) {
  const [prompt, setPrompt] = useState("");
  const [seed, setSeed] = useState("0");
  const [rounds, setRounds] = useState("");
  const [pause, setPause] = useState<string[]>([]);
  const [picture, setPicture] = useState<Picture | null>(null);
  const [mask, setMask] = useState<string | null>(null);
  const [domain, setDomain] = useState("");
  const { busy, refused, work } = useWork();
  const submit = (event: Event) => {
    event.preventDefault();
    void work(async () => {
      const asked: Record<string, unknown> = { prompt, seed: Number(seed) };
      if (domain) asked.domain = domain;
      else asked.pause = pause;
      if (rounds && !domain) asked.budget = { rounds: Number(rounds) };
      if (picture) asked.picture = picture.url;
      if (picture && mask && !domain) asked.mask = mask;
      location.hash = `#/${(await call<Creation>("/v1/creations", asked)).id}`;
    });
  };
  const file = (input: HTMLInputElement) => {
    const chosen = input.files?.[0];
    setPicture(null);
    if (chosen) void work(async () => setPicture(await opened(chosen)));
  };
  return (
    <form class="ask" onSubmit={submit}>
      <h1>What shall be painted?</h1>
      <label class="wide">Prompt
        <textarea dir="auto" rows={2} required maxLength={2000} value={prompt} placeholder={EXAMPLES[0]} onInput={(event) => setPrompt(event.currentTarget.value)}
          onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event); }} />
      </label>
      <p class="examples">
        {EXAMPLES.map((example) => <button type="button" class="chip" onClick={() => setPrompt(example)}>{example}</button>)}
      </p>
      {!domain && <Pauses chosen={pause} choose={setPause} />}
      <details>
        <summary>More</summary>
        <div class="row">
          <label>Seed<input type="number" min="0" required value={seed} onInput={(event) => setSeed(event.currentTarget.value)} /></label>
          {!domain && <label>Pictures at most<input type="number" min="1" max="10000" value={rounds} placeholder="24" onInput={(event) => setRounds(event.currentTarget.value)} /></label>}
          {about && about.domains.length > 0 && (
            <label>Show how it is made<select value={domain} onChange={(event) => setDomain(event.currentTarget.value)}>
              <option value="">no, paint it</option>
              {about.domains.map((name) => <option value={name}>{name}</option>)}
            </select></label>
          )}
          <label class="wide">A picture to work on<input type="file" accept="image/png,image/jpeg,image/webp" onChange={(event) => file(event.currentTarget)} /></label>
        </div>
        {picture && domain && <p class="muted">What is painted are the steps that could have led to it.</p>}
        {picture && !domain && (
          <>
            <p class="muted">With a mask, only what is brushed may change.</p>
            <Brush key={picture.hash} picture={picture} tell={({ url }) => setMask(url)} />
          </>
        )}
      </details>
      <Refused why={refused} />
      <button type="submit" class="main" disabled={busy}>{domain ? "Show" : picture ? "Edit" : "Paint"}</button>
      {about && <p class="muted small">{about.size.join(" × ")} pixels; painter {about.painter}, model {about.vlm}</p>}
    </form>
  );
}

function Gallery() {
  const [made, setMade] = useState<Creation[]>([]);
  const [more, setMore] = useState(false);
  const { busy, refused, work } = useWork();
  const next = (from: Creation[]) =>
    void work(async () => {
      const last = from.at(-1);
      const page = await call<{ data: Creation[]; has_more: boolean }>(`/v1/creations?limit=24${last ? `&after=${last.id}` : ""}`);
      setMade([...from, ...page.data]);
      setMore(page.has_more);
    });
  useEffect(() => next([]), []);
  return (
    <section class="gallery" aria-label="Gallery">
      <h2>Gallery</h2>
      {made.length === 0 && !busy && !refused && <p class="muted">Nothing was painted yet.</p>}
      <ul>
        {made.map((creation) => (
          <li key={creation.id}>
            <a href={`#/${creation.id}`}>
              {creation.picture
                ? <img src={small(creation.picture, 320)} width={creation.picture.width} height={creation.picture.height} alt="" loading="lazy" decoding="async" />
                : <span class="blank">No picture yet</span>}
              <span class="caption" dir="auto">{creation.prompt}</span>
              <span class={`state ${creation.state}`}>{creation.stop_reason ?? creation.state}</span>
            </a>
          </li>
        ))}
      </ul>
      <Refused why={refused} />
      {more && <button type="button" disabled={busy} onClick={() => next(made)}>More</button>}
    </section>
  );
}
