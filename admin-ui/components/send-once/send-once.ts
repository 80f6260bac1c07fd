/**
 * Keeps an impatient second click from sending a form again. The server would refuse
 * it anyway, but then the first answer, with the code in it, would be lost.
 */
export class SendOnce extends HTMLElement {
  #sent = false;

  connectedCallback(): void {
    this.addEventListener("submit", this.#submit);
    addEventListener("pageshow", this.#shown);
  }

  disconnectedCallback(): void {
    this.removeEventListener("submit", this.#submit);
    removeEventListener("pageshow", this.#shown);
  }

  #submit = (event: Event): void => {
    if (this.#sent) event.preventDefault();
    this.#sent = true;
    this.querySelector("button")?.setAttribute("aria-disabled", "true");
  };

  /** A form that the browser kept when the reader went back has been used up. */
  #shown = (event: PageTransitionEvent): void => {
    if (event.persisted && this.#sent) location.reload();
  };
}
