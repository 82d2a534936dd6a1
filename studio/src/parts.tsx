// Small parts that several views share.

import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { Refusal, small, type Critique, type Picture, type Plan } from "./api";
import { percent, thing } from "./story";

/** A picture of a creation, no wider than is needed. */
export function Shown({ picture, alt, width = 512 }: { picture: Picture; alt: string; width?: number }) {
  return <img class="shown" src={small(picture, width)} width={picture.width} height={picture.height} alt={alt} decoding="async" />;
}

/** Work that a button starts: whether it is under way, and what was refused. */
export function useWork(): { busy: boolean; refused: string; work: (what: () => Promise<void>) => Promise<void> } {
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState("");
  const work = async (what: () => Promise<void>) => {
    setBusy(true);
    setRefused("");
    try {
      await what();
    } catch (error) {
      setRefused(error instanceof Refusal ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, refused, work };
}

export const Refused = ({ why }: { why: string }) => (why ? <p class="refused" role="alert">{why}</p> : null);

const MARKS = { present: "✓", missing: "○", wrong: "✗", not_yet: "…" };
const NAMES = { present: "present", missing: "missing", wrong: "wrong", not_yet: "not yet" };

/** What the critic, or a person, said of a picture. */
export function Said({ critique, plan }: { critique: Critique; plan: Plan | null }) {
  return (
    <div class="critique">
      <ul class="findings">
        {critique.findings.map((finding) => (
          <li class={finding.status}>
            <span class="status"><span aria-hidden="true">{MARKS[finding.status]} </span>{NAMES[finding.status]}</span>
            <span dir="auto">
              {thing(plan, finding.element)}
              {finding.seen && finding.status !== "present" && <span class="muted">, seen: {finding.seen}</span>}
            </span>
            <span class="score">{percent(finding.score)}</span>
          </li>
        ))}
      </ul>
      {critique.corrections.map((correction) => <p class="next" dir="auto">→ {correction.instruction}</p>)}
    </div>
  );
}

/** A plan in full. */
export function Planned({ plan }: { plan: Plan }) {
  return (
    <ol class="plan">
      {plan.steps.map((step) => (
        <li>
          <span dir="auto">{step.instruction}</span>{" "}
          {step.adds.map((index) => <span class="chip" dir="auto">{thing(plan, index)}</span>)}
        </li>
      ))}
    </ol>
  );
}

/** A dialog of the browser's own: it keeps the focus, and Escape closes it. */
export function Sheet({ label, title, children, class: name = "" }: {
  label: string; title: string; class?: string; children: (close: () => void) => ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [open, setOpen] = useState(false);
  const show = () => {
    setOpen(true);
    dialog.current?.showModal();
  };
  return (
    <>
      <button type="button" class={name} aria-haspopup="dialog" onClick={show}>{label}</button>
      <dialog ref={dialog} aria-label={title} onClose={() => setOpen(false)}>
        {open && (
          <>
            <header><h2>{title}</h2><button type="button" class="plain" onClick={() => dialog.current?.close()}>Close</button></header>
            {children(() => dialog.current?.close())}
          </>
        )}
      </dialog>
    </>
  );
}

export const PAUSES: [string, string][] = [
  ["after:plan", "after the plan"],
  ["before:refine", "before each correction"],
  ["before:finish", "before the end"],
];

/** Where to wait for a person. */
export function Pauses({ chosen, choose }: { chosen: string[]; choose: (pauses: string[]) => void }) {
  return (
    <fieldset class="row">
      <legend>Wait for me</legend>
      {PAUSES.map(([value, label]) => (
        <label class="check">
          <input
            type="checkbox" checked={chosen.includes(value)}
            onChange={(event) => choose(event.currentTarget.checked ? [...chosen, value] : chosen.filter((other) => other !== value))}
          />
          {label}
        </label>
      ))}
    </fieldset>
  );
}
