/** Where the picture lies inside its box, and where a pixel of it lies on the page. Pure geometry, all in CSS pixels. */

export type Fit = "contain" | "cover";

export interface Placement {
  left: number;
  top: number;
  /** CSS pixels for each picture pixel. */
  scale: number;
}

export function place(pictureWidth: number, pictureHeight: number, boxWidth: number, boxHeight: number, fit: Fit): Placement | null {
  if (!(pictureWidth > 0 && pictureHeight > 0 && boxWidth > 0 && boxHeight > 0)) return null;
  const across = boxWidth / pictureWidth;
  const down = boxHeight / pictureHeight;
  const scale = fit === "contain" ? Math.min(across, down) : Math.max(across, down);
  return { left: (boxWidth - pictureWidth * scale) / 2, top: (boxHeight - pictureHeight * scale) / 2, scale };
}

/** A pixel coordinate names the pixel's centre (0 is the centre of the first pixel), hence the half. */
export function onPage(placement: Placement, x: number, y: number): { left: number; top: number } {
  return { left: placement.left + (x + 0.5) * placement.scale, top: placement.top + (y + 0.5) * placement.scale };
}
