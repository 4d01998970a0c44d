// Two images over each other, parted by a line that is dragged.

import { api } from "../../../scripts/api.js";
import { text } from "./texts.js";
import { make } from "./widgets.js";

const address = (image) => api.apiURL(`/view?${new URLSearchParams(image)}`);

/** An element with `show(before, after)`: lists of files as the server describes them. */
export function beforeAfter() {
  const before = make("img", { alt: text("Before"), draggable: false });
  const after = make("img", { alt: text("After"), draggable: false });
  const line = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  line.ariaLabel = text("Before to the left, after to the right");
  const images = make("div", { className: "dense-face-compare" }, before, after, line);
  const numbers = make("div", { className: "dense-face-words" });
  const element = make("div", { hidden: true }, images, numbers);
  const place = () => images.style.setProperty("--at", `${line.value}%`);
  line.addEventListener("input", place);
  for (const event of ["pointerdown", "pointermove"]) {
    line.addEventListener(event, (each) => each.stopPropagation()); // the canvas would move the node
  }
  place();
  element.show = (olds, news) => {
    element.hidden = !news.length;
    const choose = (number) => {
      before.src = address(olds[Math.min(number, olds.length - 1)]);
      after.src = address(news[number]);
      for (const [each, button] of [...numbers.children].entries()) {
        button.classList.toggle("chosen", each === number);
      }
    };
    const buttons = news.map((_, number) =>
      make("button", { type: "button", textContent: number + 1, onclick: () => choose(number) }),
    );
    numbers.replaceChildren(...(buttons.length > 1 ? buttons : []));
    if (news.length) choose(0);
  };
  return element;
}
