// Sockets and links of the pack's own types in colours of their own, in both renderings of nodes.

import { app } from "../../../scripts/app.js";
import { make } from "./widgets.js";

// Told apart by readers with any kind of colour blindness too, by lightness where not by hue.
export const COLOURS = {
  DENSEFACE_ADAPTER: "#bd5bff",
  DENSEFACE_ANALYZER: "#927402",
  DENSEFACE_ANNOTATION_HEAD: "#29765d",
  DENSEFACE_ANNOTATIONS: "#4ca196",
  DENSEFACE_FACES: "#fbd3b5",
  DENSEFACE_IDENTITY: "#ea176b",
  DENSEFACE_POSE: "#06d2e5",
  SFSR_ADAPTER: "#ae3698",
  SFSR_BACKGROUND: "#aaaa29",
  SFSR_EXPRESSION: "#beed0c",
};

/** A table of the canvas gives our colour wherever the chosen palette has none for the type. */
function fallBack(table) {
  for (const [type, colour] of Object.entries(COLOURS)) {
    let chosen = table[type];
    Object.defineProperty(table, type, {
      configurable: true,
      enumerable: true,
      get: () => chosen || colour,
      set: (value) => (chosen = value), // on each change of palettes, empty for unknown types
    });
  }
}

app.registerExtension({
  name: "DenseFace.SocketColours",
  setup() {
    fallBack(window.LGraphCanvas.link_type_colors);
    fallBack(app.canvas.default_connection_color_byType);
    const properties = Object.entries(COLOURS).map(
      ([type, colour]) => `--color-datatype-${type}: ${colour};`,
    );
    // A palette sets the same properties on the element itself, which comes before a style sheet.
    document.head.append(make("style", {}, `:root { ${properties.join(" ")} }`));
  },
});
