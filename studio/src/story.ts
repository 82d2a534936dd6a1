// A creation as the page knows it: its view, its steps, and what each event changes. Nothing here draws.

import { call, type Box, type Creation, type Critique, type Picture, type Plan, type Step, type Told } from "./api";

export interface Story { view: Creation; steps: Step[] }

/** A picture with what was said of it; or a step in words alone. */
export interface Entry {
  step: Step;
  number: number;
  before: Picture | null;
  after: Picture | null;
  critique: Critique | null;
  /** The plan that stood when it was made. */
  plan: Plan | null;
  /** The step whose critique led to it. */
  cause: Step | null;
  /** Whether what came next went on from it; null where nothing came yet. */
  kept: boolean | null;
}

/** All there is of a creation now. */
export async function read(id: string): Promise<Story> {
  const view = await call<Creation>(`/v1/creations/${id}`);
  const steps: Step[] = [];
  for (let more = true; more;) {
    const page = await call<{ data: Step[]; has_more: boolean }>(`/v1/creations/${id}/steps?first=${steps.length}`);
    steps.push(...page.data);
    more = page.has_more && page.data.length > 0;
  }
  return { view, steps };
}

/** The story after one more event; null when it does not fit and must be read again. */
export function after(story: Story, told: Told): Story | null {
  const { view, steps } = story;
  const with_ = (change: Partial<Creation>) => ({ steps, view: { ...view, ...change } });
  switch (told.type) {
    case "queued": return with_({ state: "queued", next: null, error: null, progress: null, cancelling: false });
    case "running": return with_({ state: "running" });
    case "denoise": return with_({ state: "running", progress: told as never });
    case "paused": return with_({ state: "waiting", next: String(told.next), progress: null });
    case "cancel": return with_({ cancelling: true });
    case "failed": return with_({ state: "failed", error: told.error as never, progress: null });
    case "refused": return with_({ state: "finished", error: told.error as never, progress: null });
    case "done": return with_({ state: "finished", progress: null, cancelling: false });
    case "step": {
      const step = told as unknown as Step;
      const known = steps.some(({ hash }) => hash === step.hash); // the steps were read after the view
      if (!known && step.parent !== (steps.at(-1)?.hash ?? null)) return null;
      const now = known ? steps : [...steps, step];
      return {
        steps: now,
        view: {
          ...view, head: step.hash, progress: null, steps: now.length,
          picture: step.picture ?? view.picture, plan: step.plan ?? view.plan,
          stop_reason: String(step.settings.stop_reason ?? "") || null,
        },
      };
    }
  }
  return story;
}

/** Steps as entries: a reflection stands beside the picture it speaks of. */
export function entries(steps: Step[]): Entry[] {
  const made: Entry[] = [];
  let plan: Plan | null = null;
  let cause: Step | null = null;
  steps.forEach((step, number) => {
    const last = made.at(-1);
    plan = step.plan ?? plan;
    if (step.kind === "reflect" && last?.step.picture && !last.critique && last.after?.hash === step.inputs[0]?.hash) {
      last.critique = step.critique;
    } else {
      const paints = step.picture !== null && step.kind !== "finish";
      const from = step.inputs[0] ?? null;
      if (paints && step.kind !== "human") settle(made, from);
      made.push({
        step, number, plan, cause: step.kind === "refine" ? cause : null, kept: null,
        before: paints ? from : null,
        after: step.picture ?? (step.kind === "human" && !step.critique ? null : from),
        critique: step.critique,
      });
      if (step.kind === "finish") settle(made.slice(0, -1), step.picture);
    }
    if (step.critique) cause = step;
  });
  return made;
}

/** Say of the newest picture whether what comes now goes on from it. */
function settle(made: Entry[], from: Picture | null): void {
  const last = made.findLast((entry) => entry.step.picture !== null);
  if (last && last.kept === null) last.kept = last.after?.hash === from?.hash;
}

/** Where a step was allowed to change something. */
export function regions(step: Step): Box[] {
  const found = String(step.settings.regions ?? "").matchAll(/(\d+) (\d+) (\d+) (\d+)/g);
  return [...found].map(([, ...edges]) => edges.map(Number) as Box);
}

/** `2 × small red cat` */
export function thing(plan: Plan | null, index: number): string {
  const element = plan?.elements[index];
  if (!element) return `element ${index}`;
  const words = [element.size, element.color, element.name].filter(Boolean).join(" ");
  return element.count > 1 ? `${element.count} × ${words}` : words;
}

export const percent = (score: number | null | undefined) => (score === null || score === undefined ? "" : `${Math.round(100 * score)}%`);

export const ENDINGS: Record<string, string> = {
  accepted: "Finished: everything is as planned.",
  stalled: "Finished: nothing that was tried made it better.",
  rounds: "Ended: all the pictures asked for were painted.",
  seconds: "Ended: the budget of seconds was spent.",
  tokens: "Ended: the budget of tokens was spent.",
  pixels: "Ended: the budget of pixels was spent.",
  memory: "Ended: the budget of memory was spent.",
  refused: "Stopped: the review of content refused it.",
  cancelled: "Cancelled, with its best picture.",
};

/** How it stands, in a sentence. */
export function standing({ state, stop_reason, next, error, cancelling }: Creation): string {
  if (cancelling && state !== "finished") return "Ending…";
  switch (state) {
    case "queued": return "Waits for its turn.";
    case "running": return "At work.";
    case "waiting": return `Waits for you, before ${next ?? "it goes on"}.`;
    case "failed": return `Failed: ${error?.message ?? "the reason is not known"}`;
    case "unfinished": return "Left unfinished.";
    case "finished": return (stop_reason && ENDINGS[stop_reason]) || "Finished.";
  }
}
