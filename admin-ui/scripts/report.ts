import { ReportSent } from "../components/report-sent/report-sent.js";
import { SendOnce } from "../components/send-once/send-once.js";
import { TimeZone } from "../components/time-zone/time-zone.js";

customElements.define("report-sent", ReportSent);
customElements.define("send-once", SendOnce);
customElements.define("time-zone", TimeZone);
