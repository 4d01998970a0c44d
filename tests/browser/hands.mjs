// A mouse or fingers. Touches go through the browser's own input, which asks `touch-action` whether
// a movement scrolls.

/** `drag(element, from, by)`, in pixels from the element's middle, and `tap(element)`. */
export async function hand(page, touch) {
  const client = touch ? await page.context().newCDPSession(page) : undefined;
  const send = (type, points) =>
    client.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: points.map(([x, y]) => ({ x, y })),
    });
  const { mouse } = page;
  const pointer = touch
    ? {
        down: (at) => send("touchStart", [at]),
        move: (at) => send("touchMove", [at]),
        up: () => send("touchEnd", []),
      }
    : {
        down: async (at) => {
          await mouse.move(...at);
          await mouse.down();
        },
        move: (at) => mouse.move(...at),
        up: () => mouse.up(),
      };
  return {
    async drag(element, from, by) {
      const { x, y, width, height } = await element.boundingBox();
      const start = [x + width / 2 + from[0], y + height / 2 + from[1]];
      await pointer.down(start);
      for (let step = 1; step <= 4; step += 1) {
        await pointer.move([start[0] + (by[0] * step) / 4, start[1] + (by[1] * step) / 4]);
        await page.waitForTimeout(30);
      }
      await pointer.up();
      await page.waitForTimeout(300);
    },
    async tap(element) {
      await (touch ? element.tap() : element.click());
      await page.waitForTimeout(300);
    },
  };
}
