// The HTTP API, as far as the page uses it: its values, a caller, and the stream of events.

export type Box = [number, number, number, number];

export interface Picture { hash: string; width: number; height: number; url: string }
export interface Element { name: string; role: string; count: number; color: string | null; size: string | null; boxes: Box[] }
export interface PlanStep {
  instruction: string; expected: string; adds: number[];
  edit?: string; domain?: string; frames?: number; // left out where they are not asked for
}
export interface Plan { elements: Element[]; steps: PlanStep[]; style: string | null; domain: string | null }
export type Status = "present" | "missing" | "wrong" | "not_yet";
export interface Finding { element: number; status: Status; fault: string | null; seen: string; score: number | null }
export interface Correction { edit: string; instruction: string; regions: Box[] }
export type Verdict = "accept" | "refine" | "redraw" | "replan";
export interface Critique { findings: Finding[]; corrections: Correction[]; verdict: Verdict; score: number }

export interface Step {
  hash: string;
  parent: string | null;
  kind: "brief" | "plan" | "draft" | "reflect" | "refine" | "human" | "finish";
  text: string;
  picture: Picture | null;
  frames: Picture[]; // what led to the picture, where it is a process
  inputs: Picture[];
  plan: Plan | null;
  critique: Critique | null;
  seed: number | null;
  settings: Record<string, string | number | boolean>;
  measured: Record<string, unknown>;
}

export type State = "queued" | "running" | "waiting" | "finished" | "failed" | "unfinished";
export interface Progress { node: string; done: number; total: number }

export interface Creation {
  id: string;
  state: State;
  prompt: string;
  task: string;
  seed: number;
  head: string;
  created: string;
  steps: number;
  events: number;
  picture: Picture | null;
  plan: Plan | null;
  stop_reason: string | null;
  next: string | null;
  progress: Progress | null;
  cancelling: boolean;
  error: { code: string; message: string } | null;
  forked_from: { step: string; creation: string | null } | null;
}

/** What a turn of a conversation ended with. */
export interface Turn { number: number; said: string; base: number; picture: Picture; step: string }

export interface Kind { name: string; about: string }
export interface Form { name: string; suffix: string; about: string }
export interface About { version: string; size: [number, number]; painter: string; vlm: string; upload: number; exports: Form[]; edits: Kind[]; domains: string[] }

/** An event of a creation; what belongs to its type stands beside it. */
export type Told = { type: string; at: string } & Record<string, unknown>;

/** What the server refuses, in its own words. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

/** Ask the server; a body makes it a POST.
 *  @throws {Refusal} it answers with an error, or not at all (status 0). */
export async function call<T>(path: string, body?: unknown): Promise<T> {
  const asked: RequestInit = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer: Response;
  try {
    answer = await fetch(path, asked);
  } catch {
    throw new Refusal(0, "away", "The server does not answer. Is brushloop serve still running?");
  }
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Refusal(answer.status, value?.error?.code ?? "unexpected", value?.error?.message ?? answer.statusText);
  return value as T;
}

const TYPES = ["queued", "running", "step", "denoise", "wait", "paused", "cancel", "failed", "refused", "done"];

/** Hear the events of a creation after number `after`, each once and in order; returns how to stop.
 *  The browser asks again by itself when it is cut off, from where it was. */
export function listen(id: string, after: number, hear: (told: Told, number: number) => void): () => void {
  const source = new EventSource(`/v1/creations/${id}/events?after=${after}`);
  for (const type of TYPES)
    source.addEventListener(type, (event) => {
      const number = Number((event as MessageEvent).lastEventId);
      if (number > after) hear(JSON.parse((event as MessageEvent).data) as Told, (after = number));
    });
  return () => source.close();
}

/** Whether anything was told of a creation after event `after`. */
export async function moved(id: string, after: number): Promise<boolean> {
  const answer = await fetch(`/v1/creations/${id}/events?after=${after}&wait=false`);
  await answer.body?.cancel();
  return answer.status === 200;
}

/** The address of a picture at most so many pixels wide; a small one comes as it is. */
export const small = ({ url, width: wide }: Picture, width: number) => (wide <= width || url.startsWith("data:") ? url : `${url}?width=${width}&format=webp`);

/** A picture from a file, its address a data URL.
 *  @throws {Refusal} it is none. */
export async function opened(file: File): Promise<Picture> {
  const url = await dataUrl(file);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    throw new Refusal(0, "file", `${file.name} is no picture that can be shown.`);
  }
  return { hash: url, width: image.naturalWidth, height: image.naturalHeight, url };
}

/** A file as a data URL. */
export function dataUrl(file: File): Promise<string> {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result));
    reader.onerror = () => fail(new Refusal(0, "file", `${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}
