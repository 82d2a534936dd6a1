// A person's turn: approve, or give another plan, critique, correction or picture.

import { useState } from "preact/hooks";
import { call, dataUrl, type About, type Correction, type Creation, type Critique, type Kind, type Picture, type Plan } from "./api";
import { Brush, type Mask } from "./brush";
import { CritiqueEditor, PlanEditor } from "./editors";
import { Refused, useWork } from "./parts";

type Way = "approve" | "plan" | "critique" | "brush" | "picture";

interface Props { view: Creation; about: About | null; picture: Picture | null; critique: Critique | null }

export function Answer({ view, about, picture, critique }: Props) {
  const [kind, setKind] = useState<Way>("approve");
  const [last, setLast] = useState(false);
  const { busy, refused, work } = useWork();
  const send = (said: Record<string, unknown>) =>
    void work(async () => {
      await call(`/v1/creations/${view.id}/answer`, { ...said, head: view.head, ...(last ? { pause: [] } : {}) });
      window.dispatchEvent(new Event("acted"));
    });
  const ways: [Way, string, boolean][] = [
    ["approve", "Approve", true], ["plan", "Edit plan", view.plan !== null], ["critique", "Rewrite critique", critique !== null],
    ["brush", "Brush a mask", picture !== null && view.plan !== null && about !== null], ["picture", "Give a picture", view.plan !== null],
  ];
  return (
    <section class="answer" aria-label="Your turn">
      <h2>Your turn <span class="muted">before {view.next}</span></h2>
      <div class="looks" role="group" aria-label="What to answer">
        {ways.filter(([, , possible]) => possible).map(([value, label]) => (
          <button type="button" aria-pressed={kind === value} onClick={() => setKind(value)}>{label}</button>
        ))}
      </div>
      {kind === "approve" && (
        <form onSubmit={(event) => (event.preventDefault(), send({}))}>
          <p>Go on as it was about to.</p>
          <button class="main" type="submit" disabled={busy}>Approve and go on</button>
        </form>
      )}
      {kind === "plan" && view.plan && <PlanEditor key={view.head} plan={view.plan} busy={busy} send={(plan: Plan) => send({ plan })} />}
      {kind === "critique" && critique && <CritiqueEditor key={view.head} critique={critique} plan={view.plan} busy={busy} send={(said) => send({ critique: said })} />}
      {kind === "brush" && picture && about && <Corrected kinds={about.edits} picture={picture} busy={busy} send={send} />}
      {kind === "picture" && <Given busy={busy} send={send} />}
      <label class="check"><input type="checkbox" checked={last} onChange={(event) => setLast(event.currentTarget.checked)} />and do not wait for me again</label>
      <Refused why={refused} />
    </section>
  );
}

type Send = (said: Record<string, unknown>) => void;

function Corrected({ kinds, picture, busy, send }: { kinds: Kind[]; picture: Picture; busy: boolean; send: Send }) {
  const [mask, setMask] = useState<Mask>({ url: null, box: null });
  const [edit, setEdit] = useState(kinds[0]?.name ?? "add");
  const [instruction, setInstruction] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    const correction: Correction = { edit, instruction, regions: mask.box ? [mask.box] : [] };
    send(mask.url && !mask.box ? { correction, mask: mask.url } : { correction });
  };
  return (
    <form onSubmit={submit}>
      <Brush picture={picture} tell={setMask} />
      <div class="row">
        <label>Edit<select value={edit} onChange={(event) => setEdit(event.currentTarget.value)}>{kinds.map(({ name, about: what }) => <option value={name} title={what}>{name.replace("_", " ")}</option>)}</select></label>
        <label class="wide">What is to change there
          <input type="text" dir="auto" required maxLength={500} value={instruction} placeholder="add a red kite" onInput={(event) => setInstruction(event.currentTarget.value)} />
        </label>
      </div>
      {!mask.url && <p class="muted">With nothing brushed, all of the picture may change.</p>}
      <button class="main" type="submit" disabled={busy}>Correct and go on</button>
    </form>
  );
}

function Given({ busy, send }: { busy: boolean; send: Send }) {
  const [picture, setPicture] = useState("");
  return (
    <form onSubmit={(event) => (event.preventDefault(), send({ picture }))}>
      <label class="wide">A picture to go on from
        <input type="file" accept="image/png,image/jpeg,image/webp" required
          onChange={(event) => { const file = event.currentTarget.files?.[0]; if (file) void dataUrl(file).then(setPicture); }} />
      </label>
      <button class="main" type="submit" disabled={busy || !picture}>Go on from it</button>
    </form>
  );
}
