// Choose a word by its face, or by the word that comes to mind.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { headURL, liveHead } from "./head.js";
import { text, wordText } from "./texts.js";
import { addControl, change, make, onChange, setWidget, widget } from "./widgets.js";

const NAMES = ["word", "intensity", "seed", "variation"];
const PRIMARIES = {
  love: "love", joy: "happiness", surprise: "surprise", anger: "anger", sadness: "sadness", fear: "fear",
};
const MOST = 12;
let words;

/** Without accents and case. */
const folded = (each) => each.normalize("NFKD").replace(/\p{Mn}/gu, "").toLowerCase();

/**
 * Those of the 135 words that a text leads to: by themselves first, in English or as shown, then by
 * an everyday word.
 */
function matching(typed) {
  const sought = folded(typed.trim());
  if (!sought) return [];
  const rank = ({ word, primary, synonyms }) => {
    const names = [word, folded(wordText(word))];
    if (names.includes(sought) || synonyms.includes(sought)) return 0;
    if (names.some((each) => each.startsWith(sought))) return 1;
    if (synonyms.some((each) => each.startsWith(sought))) return 2;
    if (primary === sought) return 3;
    return [...names, ...synonyms].some((each) => each.includes(sought)) ? 4 : 5;
  };
  return words
    .map((each) => [rank(each), each])
    .filter(([found]) => found < 5)
    .sort(([one], [other]) => one - other)
    .slice(0, MOST)
    .map(([, each]) => each);
}

app.registerExtension({
  name: "DenseFace.ExpressionWord",
  async nodeCreated(node) {
    if (node.comfyClass !== "SFSR_ExpressionFromWord" || !widget(node, "word")) return;
    const head = liveHead(text("Head with this expression"));
    const caption = make("div", { className: "dense-face-caption" });
    const found = make("div", { className: "dense-face-words" });
    const choose = (primary, word) =>
      change(() => setWidget(node, "word", `${primary} / ${word}`));
    const button = (primary, word, ...children) =>
      make(
        "button",
        { type: "button", title: word, dataset: { word }, onclick: () => choose(primary, word) },
        ...children,
        wordText(word),
      );
    const showPrimaries = () =>
      found.replaceChildren(
        ...Object.entries(PRIMARIES).map(([primary, word]) =>
          button(primary, word, make("img", { src: headURL({ word }), alt: "", loading: "lazy" })),
        ),
      );
    const search = make("input", {
      type: "search",
      placeholder: text("smile, angry, fed up …"),
      ariaLabel: text("Search the words"),
    });
    search.addEventListener("input", () => {
      const matches = words ? matching(search.value) : [];
      if (matches.length) found.replaceChildren(...matches.map((m) => button(m.primary, m.word)));
      else showPrimaries();
    });
    search.addEventListener("keydown", (event) => event.stopPropagation());
    showPrimaries();
    addControl(node, "faces_of_words", make("div", {}, head, caption, search, found), 390);
    onChange(node, NAMES, () => {
      const values = Object.fromEntries(NAMES.map((name) => [name, widget(node, name)?.value]));
      head.show(values);
      const chosen = String(values.word).split("/").pop().trim();
      caption.textContent = wordText(chosen) === chosen ? "" : wordText(chosen);
      for (const each of found.children) {
        each.classList.toggle("chosen", each.dataset.word === chosen);
      }
    });
    words ??= await (await api.fetchApi("/dense_face/words")).json();
  },
});
