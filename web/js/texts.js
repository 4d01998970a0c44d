// Texts of the controls in the frontend's language, from `locales/<language>/main.json`.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

let languages = {};

app.registerExtension({
  name: "DenseFace.Texts",
  async init() {
    try {
      for (const [language, { denseFace }] of Object.entries(await api.getCustomNodesI18n())) {
        languages[language] = denseFace;
      }
    } catch (error) {
      console.warn("Dense-Face: its controls stay in English.", error);
    }
  },
});

/** Undefined where the frontend is in English, or in a language that has no such text. */
function translation(kind, key) {
  const locale = app.extensionManager.setting.get("Comfy.Locale") ?? "en";
  const found = languages[locale] ?? languages[locale.split("-")[0]];
  return found?.[kind]?.[key];
}

/**
 * A text of the controls. The English one is its key; `{name}` in it stands for `values.name`.
 * Literal first arguments are what `make locales` collects.
 */
export function text(english, values = {}) {
  const found = translation("controls", english) ?? english;
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** One of the 135 words. */
export function wordText(word) {
  return translation("words", word) ?? word;
}

/** A movement of the face: a key of `MOVEMENTS` with its English text. */
export function movementText(name, english) {
  return translation("movements", name) ?? english;
}
