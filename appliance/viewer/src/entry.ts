/** The pages before the picture: a field for the link, and the choice among the streams that it opens. */
import type { Stream } from "./appliance.ts";
import { type Link, readPasted } from "./link.ts";
import { element, make, write } from "./page.ts";

export function askForLink(problem: string, opened: (link: Link) => void): void {
  document.body.dataset["view"] = "link";
  const form = element("link-form", HTMLFormElement);
  const field = element("link-field", HTMLInputElement);
  const message = element("link-problem", HTMLElement);
  write(message, problem);
  form.onsubmit = (event) => {
    event.preventDefault();
    const link = readPasted(field.value, location.href);
    if (link === null) {
      write(message, "That is not a viewer link. It ends in “#token=” and a long code.");
      field.setAttribute("aria-invalid", "true");
      field.focus();
      return;
    }
    field.value = "";
    field.removeAttribute("aria-invalid");
    opened(link);
  };
  field.focus();
}

export function chooseStream(streams: readonly Stream[], chosen: (stream: Stream) => void): void {
  document.body.dataset["view"] = "choose";
  write(element("choose-note", HTMLElement), streams.length === 0 ? "This link opens no stream at the moment." : "This link opens more than one stream.");
  element("streams", HTMLElement).replaceChildren(...streams.map((stream) => streamButton(stream, chosen)));
}

function streamButton(stream: Stream, chosen: (stream: Stream) => void): HTMLElement {
  const item = make("li", "");
  const button = make("button", "stream");
  const size = stream.shownHeight === null ? "" : `${stream.shownWidth} × ${stream.shownHeight}`;
  const words = make("span", "stream-words");
  words.append(make("strong", "", stream.title), make("span", "", [stream.name, size].filter((part) => part !== "").join(" · ")));
  const state = make("span", stream.live ? "stream-state live" : "stream-state", stream.live ? "Live" : "Off air");
  button.append(words, state);
  button.onclick = () => chosen(stream);
  item.append(button);
  return item;
}
