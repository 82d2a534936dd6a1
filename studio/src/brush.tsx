// A mask brushed over a picture; for those who cannot brush, the same as a box in numbers.

import { useEffect, useRef, useState } from "preact/hooks";
import { small, type Box, type Picture } from "./api";

/** A mask as a data URL; and the box, if it was given as one. */
export interface Mask { url: string | null; box: Box | null }

const EDGES = ["Left", "Top", "Right", "Bottom"];
const SIDE = 512;
const PAINT = "#7a3cff"; // seen on light and dark pictures alike

/** Lets a person brush; `tell` gets the mask: black, and white where something may change. */
export function Brush({ picture, tell }: { picture: Picture; tell: (mask: Mask) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef<[number, number] | null>(null);
  const [size, setSize] = useState(12);
  const [box, setBox] = useState<(number | null)[]>([null, null, null, null]);
  const width = picture.width >= picture.height ? SIDE : Math.round((SIDE * picture.width) / picture.height);
  const height = Math.round((width * picture.height) / picture.width);

  useEffect(() => clear(), [picture.hash]);

  const pen = () => canvas.current!.getContext("2d")!;

  function clear() {
    pen().clearRect(0, 0, width, height);
    setBox([null, null, null, null]);
    tell({ url: null, box: null });
  }

  function stroke(event: PointerEvent) {
    const at = canvas.current!.getBoundingClientRect();
    const to: [number, number] = [((event.clientX - at.left) / at.width) * width, ((event.clientY - at.top) / at.height) * height];
    const context = pen();
    context.lineWidth = (size / 100) * width;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = PAINT;
    context.beginPath();
    context.moveTo(...(last.current ?? to));
    context.lineTo(...to);
    context.stroke();
    last.current = to;
  }

  function begin(event: PointerEvent) {
    canvas.current!.setPointerCapture(event.pointerId);
    setBox([null, null, null, null]);
    stroke(event);
  }

  function end() {
    if (!last.current) return;
    last.current = null;
    tell({ url: flat(canvas.current!, picture), box: null });
  }

  function edge(index: number, text: string) {
    const now = box.map((old, at) => (at === index ? (text === "" ? null : Number(text)) : old));
    setBox(now);
    const context = pen();
    context.clearRect(0, 0, width, height);
    if (now.some((value) => value === null)) return tell({ url: null, box: null });
    const [left, top, right, bottom] = now as Box;
    context.fillStyle = PAINT;
    context.fillRect((left / 100) * width, (top / 100) * height, ((right - left) / 100) * width, ((bottom - top) / 100) * height);
    tell({ url: flat(canvas.current!, picture), box: now as Box });
  }

  return (
    <div class="brush">
      <div class="easel" style={{ aspectRatio: `${picture.width} / ${picture.height}` }}>
        <img src={small(picture, SIDE)} alt="The picture to brush on" />
        <canvas
          ref={canvas} width={width} height={height} aria-hidden="true"
          onPointerDown={begin} onPointerMove={(event) => last.current && stroke(event)} onPointerUp={end} onPointerCancel={end}
        />
      </div>
      <div class="row">
        <label>Brush <input type="range" min="2" max="40" value={size} onInput={(event) => setSize(Number(event.currentTarget.value))} /></label>
        <button type="button" class="plain" onClick={clear}>Clear</button>
      </div>
      <fieldset class="row box">
        <legend>or a box, in percent of the picture</legend>
        {EDGES.map((name, index) => (
          <label>{name}<input type="number" min="0" max="100" value={box[index] ?? ""} onInput={(event) => edge(index, event.currentTarget.value)} /></label>
        ))}
      </fieldset>
    </div>
  );
}

/** What was brushed as a mask of the picture's own size: white on black. */
function flat(brushed: HTMLCanvasElement, { width, height }: Picture): string {
  const made = document.createElement("canvas");
  [made.width, made.height] = [width, height];
  const context = made.getContext("2d")!;
  context.drawImage(brushed, 0, 0, width, height);
  context.globalCompositeOperation = "source-in"; // white where something was brushed
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "destination-over"; // and black behind it
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  return made.toDataURL("image/png");
}
