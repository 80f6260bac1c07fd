/** Under this name a browser remembers that somebody wants no shortcuts. */
const off = "shortcuts-off";

/**
 * Single keys lead to the pages of the navigation whose links have a `data-key`; "?" shows
 * which. They can be switched off (WCAG 2.1.4), and are letters like any others while
 * something is typed or a dialog is open.
 */
export class ShortCuts extends HTMLElement {
  connectedCallback(): void {
    const open = this.querySelector<HTMLButtonElement>("[data-act=open]");
    const wanted = this.querySelector<HTMLInputElement>("input");
    if (!open || !wanted) return;
    open.hidden = false;
    open.addEventListener("click", this.#open);
    wanted.checked = localStorage.getItem(off) === null;
    wanted.addEventListener("change", () => (wanted.checked ? localStorage.removeItem(off) : localStorage.setItem(off, "")));
    this.querySelector("[data-act=close]")?.addEventListener("click", () => this.querySelector("dialog")?.close());
    document.addEventListener("keydown", this.#pressed);
  }

  disconnectedCallback(): void {
    document.removeEventListener("keydown", this.#pressed);
  }

  #open = (): void => this.querySelector("dialog")?.showModal();

  #pressed = (event: KeyboardEvent): void => {
    const typing = event.target instanceof Element && event.target.closest("input:not([type=radio], [type=checkbox]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing || document.querySelector("dialog[open]")) return;
    if (localStorage.getItem(off) !== null) return;
    if (event.key === "?") this.#open();
    else document.querySelector<HTMLAnchorElement>(`a[data-key="${CSS.escape(event.key)}"]`)?.click();
  };
}
