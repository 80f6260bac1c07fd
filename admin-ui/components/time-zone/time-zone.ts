/** Tells the server how far from UTC the browser is, in minutes, east positive. */
export class TimeZone extends HTMLElement {
  connectedCallback(): void {
    const input = this.querySelector("input");
    if (input) input.value = String(-new Date().getTimezoneOffset());
  }
}
