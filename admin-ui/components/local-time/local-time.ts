/** Puts a time in the reader's own zone before the time in UTC that the server wrote. */
export class LocalTime extends HTMLElement {
  connectedCallback(): void {
    const time = this.querySelector("time");
    const at = time && new Date(time.dateTime);
    if (!time || !at || Number.isNaN(at.valueOf()) || this.dataset["local"] !== undefined) return;
    this.dataset["local"] = "";
    const day: Intl.DateTimeFormatOptions =
      at.toDateString() === new Date().toDateString() ? {} : { year: "numeric", month: "long", day: "numeric" };
    const local = new Intl.DateTimeFormat(document.documentElement.lang, {
      ...day,
      hour: "numeric",
      minute: "2-digit",
      timeZoneName: "short",
    }).format(at);
    time.prepend(`${local} (`);
    time.append(")");
  }
}
