"use strict";
// Light or dark, and what stands under the pointer.
(() => {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (on) => { root.dataset.theme = on ? "dark" : "light"; root.dispatchEvent(new Event("theme")); };
  set(dark.matches);
  dark.addEventListener("change", () => set(dark.matches));
  document.getElementById("theme").addEventListener("click", () => set(root.dataset.theme !== "dark"));

  const hover = document.getElementById("hover");
  document.addEventListener("pointermove", (event) => {
    const at = event.target.closest ? event.target.closest("[data-t]") : null;
    hover.classList.toggle("on", at !== null);
    if (at === null) return;
    hover.textContent = at.dataset.t;
    const box = hover.getBoundingClientRect(), gap = 14;
    hover.style.left = Math.max(4, Math.min(event.clientX + gap, innerWidth - box.width - 8)) + "px";
    hover.style.top = (event.clientY + gap + box.height > innerHeight ? event.clientY - gap - box.height : event.clientY + gap) + "px";
  });
  document.addEventListener("scroll", () => hover.classList.remove("on"), { passive: true });
})();
