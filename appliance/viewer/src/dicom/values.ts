/** DICOM values as people read them: names, dates, times, ages. Each returns "" for what it cannot read. */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SEXES: Readonly<Record<string, string>> = { F: "Female", M: "Male", O: "Other" };
const AGE_UNITS: Readonly<Record<string, string>> = { Y: "year", M: "month", W: "week", D: "day" };

interface Day {
  year: number;
  month: number;
  day: number;
}

/** PN "Family^Given^Middle^Prefix^Suffix" with up to three groups (PS3.5 section 6.2.1): "Prefix Given Middle Family, Suffix". */
export function personName(value: string): string {
  const [alphabetic = "", ideographic = ""] = value.split("\\")[0]!.split("=").map(spoken);
  if (alphabetic === "") return ideographic;
  return ideographic === "" || ideographic === alphabetic ? alphabetic : `${alphabetic} (${ideographic})`;
}

function spoken(group: string): string {
  const [family = "", given = "", middle = "", prefix = "", suffix = ""] = group.split("^").map((part) => part.trim());
  const name = [prefix, given, middle, family].filter((part) => part !== "").join(" ");
  return suffix === "" ? name : `${name}, ${suffix}`;
}

function readDay(value: string): Day | null {
  const match = /^(\d{4})\.?(\d{2})\.?(\d{2})/.exec(value);
  if (match === null) return null;
  const day = { year: Number(match[1]), month: Number(match[2]), day: Number(match[3]) };
  return day.month >= 1 && day.month <= 12 && day.day >= 1 && day.day <= 31 ? day : null;
}

/** DA to "14 May 1962": the month in letters, because 05/06 means different days on different continents. */
export function date(value: string): string {
  const day = readDay(value);
  return day === null ? "" : `${day.day} ${MONTHS[day.month - 1]} ${day.year}`;
}

/** TM to "14:32:05" or, if the source is no finer, "14:32" or "14:00". */
export function time(value: string): string {
  const match = /^(\d{2}):?(\d{2})?:?(\d{2})?/.exec(value);
  if (match === null) return "";
  return [match[1], match[2] ?? "00", match[3]].filter((part) => part !== undefined).join(":");
}

export function dateTime(day: string, clock: string): string {
  return [date(day), time(clock).slice(0, 5)].filter((part) => part !== "").join(", ");
}

export function sex(value: string): string {
  return SEXES[value.trim().toUpperCase()] ?? value;
}

/** AS "064Y" to "64 years". */
export function ageString(value: string): string {
  const match = /^(\d{1,3})([YMWD])$/.exec(value.trim());
  return match === null ? "" : counted(Number(match[1]), AGE_UNITS[match[2]!]!);
}

/** Age between two DA values: whole years, months below two years, days below one month. */
export function ageBetween(birth: string, on: string): string {
  const born = readDay(birth);
  const then = readDay(on);
  if (born === null || then === null) return "";
  const days = (Date.UTC(then.year, then.month - 1, then.day) - Date.UTC(born.year, born.month - 1, born.day)) / 86_400_000;
  if (days < 0) return "";
  const months = (then.year - born.year) * 12 + then.month - born.month - (then.day < born.day ? 1 : 0);
  if (months >= 24) return counted(Math.floor(months / 12), "year");
  return months >= 1 ? counted(months, "month") : counted(days, "day");
}

function counted(count: number, unit: string): string {
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** Wall-clock time of day in the viewer's own time zone to the tenth of a second, "14:32:05.1". */
export function timeOfDay(utcMs: number): string {
  const moment = new Date(utcMs);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}.${Math.floor(moment.getMilliseconds() / 100)}`;
}

/** Today as a DA value, in the viewer's own time zone. */
export function dayOf(utcMs: number): string {
  const moment = new Date(utcMs);
  return `${moment.getFullYear()}${String(moment.getMonth() + 1).padStart(2, "0")}${String(moment.getDate()).padStart(2, "0")}`;
}
