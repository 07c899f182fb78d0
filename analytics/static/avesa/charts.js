// Draws every chart of the page from its specification, in the colors of the theme.
(() => {
  "use strict";

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function themed(spec) {
    const config = structuredClone(spec.config || {});
    config.axis = { ...config.axis, labelColor: color("--muted"), gridColor: color("--line") };
    config.legend = { ...config.legend, labelColor: color("--ink") };
    config.range = { ...config.range, category: [color("--series-1"), color("--series-2")] };
    return { ...spec, config };
  }

  async function draw(element) {
    const spec = JSON.parse(document.getElementById(element.dataset.spec).textContent);
    views.get(element)?.finalize();
    const result = await vegaEmbed(element, themed(spec), {
      actions: false,
      ast: true, // expressions are interpreted, so that the page needs no 'unsafe-eval'
      defaultStyle: false,
      renderer: "canvas", // the SVG renderer writes style attributes, which the page forbids
      tooltip: { disableDefaultStyle: true },
    });
    views.set(element, result);
    element.dataset.drawn = "true";
  }

  function drawAll() {
    for (const element of document.querySelectorAll("[data-spec]")) {
      draw(element).catch((error) => {
        element.textContent = "This chart cannot be drawn. Its figures are in the table below.";
        console.error(error);
      });
    }
  }

  dark.addEventListener("change", drawAll);
  drawAll();
})();
