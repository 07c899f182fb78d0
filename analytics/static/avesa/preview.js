// Updates the preview shortly after each change of the form.
(() => {
  "use strict";

  const form = document.querySelector("[data-preview]");
  const show = form.querySelector("[data-show]");
  let timer = 0;

  function preview() {
    form.requestSubmit(show);
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(preview, 700);
  }

  form.addEventListener("change", soon);
  if (form.elements.name.value) preview();
})();
