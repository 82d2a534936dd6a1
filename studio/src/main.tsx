// The page: which view is shown, in which light, and the key where one is needed.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { call, Refusal, type About } from "./api";
import { CreationPage } from "./creation";
import { Home } from "./home";
import { Refused, useWork } from "./parts";
import "./studio.css";

const LIGHTS = ["system", "light", "dark"];

function Studio() {
  const [at, setAt] = useState(location.hash);
  const [about, setAbout] = useState<About | null>(null);
  const [locked, setLocked] = useState(false);
  const [away, setAway] = useState("");
  useEffect(() => {
    const moved = () => {
      setAt(location.hash);
      window.scrollTo(0, 0);
    };
    window.addEventListener("hashchange", moved);
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    if (locked) return;
    call<About>("/v1/about").then(setAbout, (error: Refusal) => (error.status === 401 ? setLocked(true) : setAway(error.message)));
  }, [locked]);
  const id = /^#\/([a-z0-9][a-z0-9-]{0,63})$/.exec(at)?.[1];
  return (
    <>
      <header class="bar">
        <a class="skip" href="#content" onClick={skip}>Skip to the content</a>
        <a class="name" href="#/"><img src="/favicon.svg" alt="" width="24" height="24" />brushloop</a>
        <Light />
      </header>
      {away && <Refused why={away} />}
      {locked ? <Lock unlock={() => setLocked(false)} /> : id ? <CreationPage id={id} about={about} /> : <Home about={about} />}
    </>
  );
}

/** To the content, without leaving the address: what follows its # names the view. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

function Light() {
  const [light, setLight] = useState(() => localStorage.getItem("light") ?? "system");
  useEffect(() => {
    document.documentElement.dataset.light = light;
    localStorage.setItem("light", light);
  }, [light]);
  return (
    <label class="light">Light
      <select value={light} onChange={(event) => setLight(event.currentTarget.value)}>{LIGHTS.map((name) => <option value={name}>{name}</option>)}</select>
    </label>
  );
}

/** Asks for the API key that this server wants; it is kept in a cookie that no script can read. */
function Lock({ unlock }: { unlock: () => void }) {
  const [key, setKey] = useState("");
  const { busy, refused, work } = useWork();
  return (
    <main id="content" tabIndex={-1}>
      <form class="ask" onSubmit={(event) => (event.preventDefault(), void work(async () => { await call("/v1/session", { key }); unlock(); }))}>
        <h1>This server asks for a key</h1>
        <label class="wide">API key<input type="password" autocomplete="current-password" required value={key} onInput={(event) => setKey(event.currentTarget.value)} /></label>
        <Refused why={refused} />
        <button class="main" type="submit" disabled={busy}>Come in</button>
      </form>
    </main>
  );
}

render(<Studio />, document.getElementById("studio")!);
