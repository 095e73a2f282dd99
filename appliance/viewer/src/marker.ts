/**
 * The marker at the instrument's tip: a small canvas, drawn once for each name and then only moved, so that a frame costs a transform.
 * Called from the video frame callback: what it sets is shown together with that very frame.
 */
import { type Fit, onPage, place, type Placement } from "./fit.ts";

const WIDTH = 280;
const HEIGHT = 120;
const ANCHOR_X = 44;
const ANCHOR_Y = 60;
const RING = 17;
const TICK = 7;
const COLOUR = "#7ff7ff";
const HALO = "rgba(0, 10, 14, 0.72)";
const FONT = "600 13px system-ui, 'Segoe UI', Roboto, sans-serif";

export class Marker {
  private box = { width: 0, height: 0 };
  private drawn = "";
  private fit: Fit = "contain";
  private visible = true;

  /** `canvas` lies at the top left corner of `stage`, which clips it. */
  constructor(private readonly canvas: HTMLCanvasElement, stage: HTMLElement) {
    new ResizeObserver(([entry]) => {
      if (entry !== undefined) this.box = { width: entry.contentRect.width, height: entry.contentRect.height };
    }).observe(stage);
    this.hide();
  }

  set wanted(wanted: boolean) {
    this.visible = wanted;
    if (!wanted) this.hide();
  }

  set pictureFit(fit: Fit) {
    this.fit = fit;
    this.hide();
  }

  /** `x`, `y` in pixels of the picture, whose size is given. */
  show(x: number, y: number, name: string, pictureWidth: number, pictureHeight: number): void {
    const placement = this.visible ? place(pictureWidth, pictureHeight, this.box.width, this.box.height, this.fit) : null;
    if (placement === null || !inside(x, y, pictureWidth, pictureHeight)) return this.hide();
    const { left, top } = onPage(placement, x, y);
    const toTheLeft = left > this.rightmost(placement, pictureWidth);
    this.draw(name, toTheLeft);
    const anchorX = toTheLeft ? WIDTH - ANCHOR_X : ANCHOR_X;
    this.canvas.style.transform = `translate(${left - anchorX}px, ${top - ANCHOR_Y}px)`;
    this.canvas.style.visibility = "visible";
  }

  hide(): void {
    this.canvas.style.visibility = "hidden";
  }

  /** Beyond this the label would leave the picture, so it goes to the other side. */
  private rightmost(placement: Placement, pictureWidth: number): number {
    return Math.min(this.box.width, placement.left + pictureWidth * placement.scale) - (WIDTH - ANCHOR_X);
  }

  private draw(name: string, toTheLeft: boolean): void {
    const ratio = window.devicePixelRatio || 1;
    const wanted = `${name}|${toTheLeft}|${ratio}`;
    if (wanted === this.drawn) return;
    this.drawn = wanted;
    this.canvas.width = Math.round(WIDTH * ratio);
    this.canvas.height = Math.round(HEIGHT * ratio);
    this.canvas.style.width = `${WIDTH}px`;
    this.canvas.style.height = `${HEIGHT}px`;
    const context = this.canvas.getContext("2d");
    if (context === null) return;
    context.scale(ratio, ratio);
    context.translate(toTheLeft ? WIDTH - ANCHOR_X : ANCHOR_X, ANCHOR_Y);
    drawReticle(context);
    if (name !== "") drawLabel(context, name, toTheLeft);
  }
}

function inside(x: number, y: number, width: number, height: number): boolean {
  return x >= -0.5 && y >= -0.5 && x <= width - 0.5 && y <= height - 0.5;
}

/** A dark stroke under a light one keeps the lines readable on blood, fat and glare alike. */
function strokeTwice(context: CanvasRenderingContext2D, path: Path2D): void {
  context.lineCap = "round";
  context.strokeStyle = HALO;
  context.lineWidth = 4.5;
  context.stroke(path);
  context.strokeStyle = COLOUR;
  context.lineWidth = 1.75;
  context.stroke(path);
}

/** Four arcs and four ticks; the middle stays free, for the tip itself must remain visible. */
function drawReticle(context: CanvasRenderingContext2D): void {
  const path = new Path2D();
  const gap = 0.32;
  for (let quarter = 0; quarter < 4; quarter += 1) {
    const angle = (quarter * Math.PI) / 2;
    path.moveTo(RING * Math.cos(angle + gap), RING * Math.sin(angle + gap));
    path.arc(0, 0, RING, angle + gap, angle + Math.PI / 2 - gap);
    path.moveTo((RING - 4) * Math.cos(angle), (RING - 4) * Math.sin(angle));
    path.lineTo((RING + TICK) * Math.cos(angle), (RING + TICK) * Math.sin(angle));
  }
  strokeTwice(context, path);
}

function drawLabel(context: CanvasRenderingContext2D, name: string, toTheLeft: boolean): void {
  const side = toTheLeft ? -1 : 1;
  const elbow = { x: side * 30, y: -32 };
  const leader = new Path2D();
  leader.moveTo(side * RING * Math.SQRT1_2, -RING * Math.SQRT1_2);
  leader.lineTo(elbow.x, elbow.y);
  leader.lineTo(elbow.x + side * 6, elbow.y);
  strokeTwice(context, leader);
  context.font = FONT;
  context.textBaseline = "middle";
  const room = WIDTH - ANCHOR_X - 36 - 24;
  const width = Math.min(room, context.measureText(name).width) + 20;
  const left = toTheLeft ? elbow.x - 6 - width : elbow.x + 6;
  context.fillStyle = "rgba(6, 14, 18, 0.82)";
  context.beginPath();
  context.roundRect(left, elbow.y - 13, width, 26, 6);
  context.fill();
  context.strokeStyle = "rgba(127, 247, 255, 0.55)";
  context.lineWidth = 1;
  context.stroke();
  context.fillStyle = "#eaffff";
  context.fillText(name, left + 10, elbow.y + 0.5, room);
}
