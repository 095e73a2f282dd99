/** Typed access to the elements that index.html promises, and writes that touch the document only when something changed. */

export function element<T extends HTMLElement>(id: string, kind: abstract new (...parameters: never[]) => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no <${kind.name}> with the id "${id}"`);
  return found;
}

export function write(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

export function make(name: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(name);
  if (className !== "") made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}

/** Shows the symbol `name` of index.html's sprite in an <svg> with a <use>. */
export function setIcon(svg: Element, name: string): void {
  const use = svg.querySelector("use");
  if (use !== null && use.getAttribute("href") !== `#${name}`) use.setAttribute("href", `#${name}`);
}
