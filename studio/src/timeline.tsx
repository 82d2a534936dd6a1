// The rounds of a creation, oldest first. Only what is in view is in the page, however many there are.

import { observeWindowOffset, observeWindowRect, Virtualizer, windowScroll, type VirtualizerOptions } from "@tanstack/virtual-core";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Creation } from "./api";
import { ForkSheet } from "./fork";
import { Planned, Said, Shown } from "./parts";
import { NAMES } from "./stage";
import { percent, type Entry } from "./story";

interface Props { view: Creation; entries: Entry[]; chosen: number; choose: (number: number) => void }

export function Timeline({ view, entries, chosen, choose }: Props) {
  const list = useRef<HTMLOListElement>(null);
  const rows = useVirtual(list, entries);
  return (
    <section class="timeline" aria-label="Rounds">
      <ol ref={list} style={{ height: `${rows.total}px` }}>
        {rows.items.map(({ index, start }) => {
          const entry = entries[index]!;
          return (
            <li key={entry.step.hash} data-index={index} data-step={entry.number} data-kind={entry.step.kind} ref={rows.measure}
              style={{ transform: `translateY(${start}px)` }} aria-posinset={index + 1} aria-setsize={entries.length}>
              <Row view={view} entry={entry} chosen={entry.number === chosen} choose={choose} />
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function Row({ view, entry, chosen, choose }: { view: Creation; entry: Entry; chosen: boolean; choose: (number: number) => void }) {
  const { step, number, critique, after } = entry;
  return (
    <article class={chosen ? "entry chosen" : "entry"}>
      {step.picture && after && (
        <button type="button" class="thumb" aria-pressed={chosen} onClick={() => choose(number)}>
          <Shown picture={after} alt={`Step ${number}, ${NAMES[step.kind]}: look closer`} width={192} />
        </button>
      )}
      <div class="said">
        <h3>
          {NAMES[step.kind]} <span class="muted">step {number}</span>
          {critique && <span class="score">{percent(critique.score)}</span>}
          {entry.kept === false && <span class="outcome rolled">rolled back</span>}
        </h3>
        {step.text && !step.plan && <p class="instruction" dir="auto">{step.text}</p>}
        {step.frames.length > 0 && (
          <ol class="frames" aria-label="What led to it">
            {step.frames.map((frame, index) => (
              <li key={index}><Shown picture={frame} alt={`Frame ${index + 1} of ${step.frames.length + 1}`} width={72} /></li>
            ))}
          </ol>
        )}
        {step.plan && <Planned plan={step.plan} />}
        {critique && <Said critique={critique} plan={entry.plan} />}
        <ForkSheet view={view} at={step.hash} number={number} />
      </div>
    </article>
  );
}

/** Rows of a list that scrolls with the window: where each begins, and which are near what is in view. */
function useVirtual(list: { current: HTMLElement | null }, entries: Entry[]) {
  const [, redraw] = useState(0);
  const options = (): VirtualizerOptions<Window, HTMLElement> => ({
    count: entries.length,
    getScrollElement: () => window,
    estimateSize: () => 190,
    getItemKey: (index) => entries[index]!.step.hash,
    overscan: 4,
    gap: 12,
    scrollMargin: list.current ? list.current.getBoundingClientRect().top + window.scrollY : 0,
    observeElementRect: observeWindowRect,
    observeElementOffset: observeWindowOffset,
    scrollToFn: windowScroll,
    initialRect: { width: window.innerWidth, height: window.innerHeight },
    onChange: () => redraw((count) => count + 1),
  });
  const [virtual] = useState(() => new Virtualizer<Window, HTMLElement>(options()));
  virtual.setOptions(options());
  useEffect(() => virtual._didMount(), []);
  useLayoutEffect(() => virtual._willUpdate());
  const margin = virtual.options.scrollMargin;
  const items = virtual.getVirtualItems().map(({ index, start }) => ({ index, start: start - margin }));
  return { items, total: virtual.getTotalSize(), measure: virtual.measureElement };
}
