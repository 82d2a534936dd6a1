// Editors of the two texts of the loop: the plan and the critique.

import { useState } from "preact/hooks";
import type { Critique, Element, Finding, Plan, PlanStep, Status, Verdict } from "./api";
import { thing } from "./story";

const STATUSES: Status[] = ["present", "missing", "wrong", "not_yet"];
const VERDICTS: Verdict[] = ["accept", "refine", "redraw", "replan"];

const replaced = <T,>(list: T[], index: number, change: Partial<T>) => list.map((item, at) => (at === index ? { ...item, ...change } : item));

export function PlanEditor({ plan, busy, send }: { plan: Plan; busy: boolean; send: (plan: Plan) => void }) {
  const [steps, setSteps] = useState<PlanStep[]>(plan.steps);
  const [elements, setElements] = useState<Element[]>(plan.elements);
  return (
    <form onSubmit={(event) => (event.preventDefault(), send({ ...plan, steps, elements }))}>
      <ol class="edits">
        {steps.map((step, index) => (
          <li>
            <label>Step {index + 1}
              <input type="text" dir="auto" required maxLength={500} value={step.instruction}
                onInput={(event) => setSteps(replaced(steps, index, { instruction: event.currentTarget.value }))} />
            </label>
            {steps.length > 1 && <button type="button" class="plain" aria-label={`Remove step ${index + 1}`} onClick={() => setSteps(steps.filter((_, at) => at !== index))}>Remove</button>}
          </li>
        ))}
      </ol>
      <button type="button" class="plain" onClick={() => setSteps([...steps, { instruction: "", expected: "", adds: [] }])}>Add a step</button>
      <fieldset>
        <legend>What is in it</legend>
        <ul class="edits">
          {elements.map((element, index) => (
            <li class="row">
              <label>{element.role === "background" ? "Background" : `Object ${index}`}
                <input type="text" dir="auto" required maxLength={80} value={element.name} onInput={(event) => setElements(replaced(elements, index, { name: event.currentTarget.value }))} />
              </label>
              {element.role === "object" && (
                <label>Colour
                  <input type="text" dir="auto" maxLength={40} value={element.color ?? ""} placeholder="its own" onInput={(event) => setElements(replaced(elements, index, { color: event.currentTarget.value || null }))} />
                </label>
              )}
            </li>
          ))}
        </ul>
      </fieldset>
      <button class="main" type="submit" disabled={busy}>Use this plan</button>
    </form>
  );
}

interface CritiqueProps { critique: Critique; plan: Plan | null; busy: boolean; send: (critique: Critique) => void }

export function CritiqueEditor({ critique, plan, busy, send }: CritiqueProps) {
  const [findings, setFindings] = useState<Finding[]>(critique.findings);
  const [verdict, setVerdict] = useState<Verdict>(critique.verdict);
  const [wishes, setWishes] = useState(critique.corrections);
  const submit = (event: Event) => {
    event.preventDefault();
    send({ ...critique, findings, verdict, corrections: wishes.filter(({ instruction }) => instruction.trim()) });
  };
  const status = (index: number, value: Status) =>
    setFindings(replaced(findings, index, { status: value, score: null, ...(value === "wrong" ? {} : { fault: null }) }));
  return (
    <form onSubmit={submit}>
      <ul class="edits">
        {findings.map((finding, index) => (
          <li class="row">
            <label>{thing(plan, finding.element)}
              <select value={finding.status} onChange={(event) => status(index, event.currentTarget.value as Status)}>
                {STATUSES.map((name) => <option value={name}>{name.replace("_", " ")}</option>)}
              </select>
            </label>
            <label class="wide">What is seen
              <input type="text" dir="auto" maxLength={500} value={finding.seen} onInput={(event) => setFindings(replaced(findings, index, { seen: event.currentTarget.value }))} />
            </label>
          </li>
        ))}
      </ul>
      {wishes.map((wish, index) => (
        <label class="wide">Correction {index + 1}
          <input type="text" dir="auto" maxLength={500} value={wish.instruction} onInput={(event) => setWishes(replaced(wishes, index, { instruction: event.currentTarget.value }))} />
        </label>
      ))}
      <label>Verdict
        <select value={verdict} onChange={(event) => setVerdict(event.currentTarget.value as Verdict)}>{VERDICTS.map((name) => <option value={name}>{name}</option>)}</select>
      </label>
      <button class="main" type="submit" disabled={busy}>Use this critique</button>
    </form>
  );
}
