/** Shows of the texts that a message can have the one that is chosen. */
export class MessageText extends HTMLElement {
  connectedCallback(): void {
    const select = this.querySelector("select");
    if (!select) return;
    const show = (): void => {
      for (const sample of this.querySelectorAll<HTMLElement>("[data-text]")) {
        sample.hidden = sample.dataset["text"] !== select.value;
      }
    };
    select.addEventListener("change", show);
    show();
  }
}
