// The stage: one picture large, beside what it was before, or under the heat of what changed and why.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Box, Creation, Picture } from "./api";
import { Planned, Said, Shown } from "./parts";
import { percent, regions, thing, type Entry } from "./story";

type Look = "picture" | "compare" | "changes";
const LOOKS: [Look, string][] = [["picture", "Picture"], ["compare", "Compare"], ["changes", "Why did this change?"]];
const SIDE = 512;

export function Stage({ view, entry }: { view: Creation; entry: Entry | undefined }) {
  const [look, setLook] = useState<Look>("picture");
  const [at, setAt] = useState(50);
  const pair = entry?.before && entry.after && entry.before.hash !== entry.after.hash;
  const now = pair ? look : "picture";
  const picture = entry?.after ?? view.picture;
  return (
    <section class="stage" aria-label="The picture">
      <div class="frame">
        {!picture && <div class="blank">{view.state === "failed" ? "No picture came of it." : "No picture yet."}</div>}
        {picture && now === "picture" && <Shown picture={picture} alt={alt(view, entry)} />}
        {entry && pair && now === "compare" && <Compare before={entry.before!} after={entry.after!} at={at} />}
        {entry && pair && now === "changes" && <Changes entry={entry} />}
      </div>
      {now === "compare" && (
        <input class="slide" type="range" aria-label="How much of the picture before is shown" min="0" max="100" value={at}
          aria-valuetext={`${at}% before, ${100 - at}% after`} onInput={(event) => setAt(Number(event.currentTarget.value))} />
      )}
      <Denoising view={view} />
      <div class="looks" role="group" aria-label="How to look at it">
        {LOOKS.map(([value, label]) => (
          <button type="button" aria-pressed={now === value} disabled={value !== "picture" && !pair} onClick={() => setLook(value)}>{label}</button>
        ))}
      </div>
      {entry && <About entry={entry} />}
    </section>
  );
}

const alt = (view: Creation, entry: Entry | undefined) => (entry ? `Step ${entry.number}: ${entry.step.text || view.prompt}` : view.prompt);

/** How far the picture in work is. */
function Denoising({ view }: { view: Creation }) {
  const { progress, state } = view;
  if (state !== "running" && state !== "queued") return null;
  const words = progress ? `${progress.node}: denoising step ${progress.done} of ${progress.total}` : state === "queued" ? "Waits for its turn" : "Thinking";
  return (
    <div class="denoising">
      <progress key={progress ? "known" : "unknown"} aria-label="Progress of the picture in work" max={progress?.total} value={progress?.done} />
      <span>{words}</span>
    </div>
  );
}

function Compare({ before, after, at }: { before: Picture; after: Picture; at: number }) {
  return (
    <div class="compare">
      <Shown picture={after} alt="After" />
      <div class="over" style={{ clipPath: `inset(0 ${100 - at}% 0 0)` }}><Shown picture={before} alt="Before" /></div>
      <div class="edge" style={{ left: `${at}%` }} aria-hidden="true" />
      <span class="tag left" aria-hidden="true">before</span>
      <span class="tag right" aria-hidden="true">after</span>
    </div>
  );
}

/** Where pixels changed, and where they were allowed to; in numbers too. */
function Changes({ entry }: { entry: Entry }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [share, setShare] = useState<{ changed: number; outside: number } | null>(null);
  const allowed = regions(entry.step);
  const { before, after } = entry;
  useEffect(() => {
    let gone = false;
    void Promise.all([pixels(before!), pixels(after!)]).then(([old, now]) => {
      if (gone || !canvas.current) return;
      const { heat, changed, outside } = difference(old, now, allowed);
      [canvas.current.width, canvas.current.height] = [heat.width, heat.height];
      canvas.current.getContext("2d")!.putImageData(heat, 0, 0);
      setShare({ changed, outside });
    });
    return () => { gone = true; };
  }, [before!.hash, after!.hash]);
  return (
    <div class="changes">
      <Shown picture={after!} alt={`After: ${entry.step.text}`} />
      <canvas ref={canvas} aria-hidden="true" />
      {allowed.map(([left, top, right, bottom]) => (
        <div class="region" aria-hidden="true" style={{ left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` }} />
      ))}
      <p class="figures">
        {share ? `${percent(share.changed)} of the picture changed` : "Comparing…"}
        {share && allowed.length > 0 && `, ${percent(share.outside)} of it away from the region it was for`}.
      </p>
    </div>
  );
}

async function pixels(picture: Picture): Promise<ImageData> {
  const image = new Image();
  image.src = picture.width > SIDE ? `${picture.url}?width=${SIDE}` : picture.url;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Heat where two pictures of one size differ, and shares of the picture: changed, and changed outside of boxes. */
function difference(old: ImageData, now: ImageData, boxes: Box[]) {
  const heat = new ImageData(now.width, now.height);
  let changed = 0, outside = 0;
  for (let at = 0; at < now.data.length; at += 4) {
    let far = 0;
    for (let channel = 0; channel < 3; channel++) far = Math.max(far, Math.abs(now.data[at + channel]! - (old.data[at + channel] ?? 0)));
    if (far < 8) continue;
    changed++;
    const x = (at / 4) % now.width, y = Math.floor(at / 4 / now.width);
    const touches = ([left, top, right, bottom]: Box) =>
      100 * (x + 1) >= left * now.width && 100 * x <= right * now.width && 100 * (y + 1) >= top * now.height && 100 * y <= bottom * now.height;
    if (!boxes.some(touches)) outside++;
    heat.data.set([255, Math.max(0, 210 - far * 1.4), 0, Math.min(230, 90 + far)], at);
  }
  const all = now.width * now.height;
  return { heat, changed: changed / all, outside: changed ? outside / changed : 0 };
}

/** What led to this picture, and what was said of it. */
function About({ entry }: { entry: Entry }) {
  const { step, cause, plan, critique } = entry;
  const stroke = plan?.steps[Number(step.settings.plan_step ?? -1)];
  const blamed = cause?.critique?.findings.filter(({ status }) => status === "missing" || status === "wrong") ?? [];
  return (
    <div class="about">
      <h2>{NAMES[step.kind]} <span class="muted">step {entry.number}</span></h2>
      {step.text && <p class="instruction" dir="auto">{step.text}</p>}
      {step.kind === "draft" && stroke && <p class="why">Because the plan says so{stroke.adds.length > 0 && <>: it adds {stroke.adds.map((index) => thing(plan, index)).join(", ")}</>}.</p>}
      {step.kind === "refine" && cause && (
        <p class="why" dir="auto">
          Because {cause.kind === "human" ? "a person asked for it" : "the critic found"}
          {cause.kind !== "human" && (blamed.length > 0 ? ` ${blamed.map(({ element, status, seen }) => `${thing(plan, element)} ${status}${seen ? ` (${seen})` : ""}`).join(", ")}` : " something to mend")}.
        </p>
      )}
      {step.plan && <Planned plan={step.plan} />}
      {critique && <Said critique={critique} plan={plan} />}
    </div>
  );
}

export const NAMES: Record<string, string> = {
  brief: "Brief", plan: "Plan", draft: "Draft", reflect: "Critique", refine: "Correction", human: "Person", finish: "End",
};
