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

  // Where a bar, point or cell leads to. A bucket has one address for each of its metrics, whose
  // bars stand side by side: the one under the pointer counts.
  function target(view, event, item) {
    const hrefs = item?.datum?.hrefs || [""];
    const left = view.container().querySelector("canvas").getBoundingClientRect().left;
    const x = event.clientX - left - view.origin()[0] - item?.bounds.x1;
    const place = Math.floor((x / item?.bounds.width()) * hrefs.length) || 0;
    return hrefs[Math.min(Math.max(place, 0), hrefs.length - 1)];
  }

  function follow(event, href) {
    if (!href.startsWith("/")) return; // only pages of this site
    if (event.ctrlKey || event.metaKey) window.open(href, "_blank", "noopener");
    else window.location.assign(href);
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
    result.view.addEventListener("click", (event, item) => {
      follow(event, target(result.view, event, item));
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
