// A rendered head that follows numbers. The server draws it; it keeps the last ones.

import { api } from "../../../scripts/api.js";
import { make } from "./widgets.js";

/** Address of the image of a head: angles, a word, blendshapes. */
export function headURL(values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== 0) query.set(name, value);
  }
  return api.apiURL(`/dense_face/head?${query}`);
}

/** An image element with `show(values)`: one request at a time, and always the latest values. */
export function liveHead(alt) {
  const image = make("img", { className: "dense-face-head", alt, draggable: false });
  let wanted, loading = false;
  const next = async () => {
    if (loading || wanted === undefined) return;
    loading = true;
    const url = wanted;
    wanted = undefined;
    const loaded = new Image();
    loaded.src = url;
    try {
      await loaded.decode();
      image.src = url;
    } catch {
      // A value in between, or a server that is gone: the last head stays.
    }
    loading = false;
    next();
  };
  image.show = (values) => {
    wanted = headURL(values);
    next();
  };
  return image;
}
