/** Keeps the length of a field's text beside its limit while somebody types. */
export class TextCount extends HTMLElement {
  connectedCallback(): void {
    const input = this.querySelector<HTMLInputElement | HTMLTextAreaElement>("input, textarea");
    const now = this.querySelector("[data-count]");
    if (!input || !now) return;
    const limit = Number(this.getAttribute("limit"));
    // Characters as people see them, as the server counts them.
    const segmenter = "Segmenter" in Intl ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : undefined;
    const count = (): void => {
      const length = [...(segmenter?.segment(input.value) ?? input.value)].length;
      now.textContent = String(length);
      this.classList.toggle("text-count--over", length > limit);
    };
    input.addEventListener("input", count);
    count();
  }
}
