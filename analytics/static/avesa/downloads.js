// Renews the list of downloads while one of them is in preparation.
(() => {
  "use strict";

  const SECONDS = 2;
  const list = document.getElementById("downloads");

  async function renew() {
    // A button that has the focus would lose it.
    if (document.hidden || list.contains(document.activeElement)) return later();
    try {
      const response = await fetch(window.location.href, { credentials: "same-origin" });
      if (response.ok && !response.redirected) {
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const fresh = page.getElementById("downloads");
        if (fresh) {
          list.replaceChildren(...fresh.childNodes);
          list.toggleAttribute("data-open", fresh.hasAttribute("data-open"));
        }
      }
    } catch (error) {
      console.error(error);
    }
    later();
  }

  function later() {
    if (list.hasAttribute("data-open")) setTimeout(renew, SECONDS * 1000);
  }

  later();
})();
