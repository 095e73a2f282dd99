// Reads {name: SDP text} from stdin and writes {name: [what sdpoker has against it]}: all SHALL and SHOULD clauses, white space and line ends.
const { checkRFC4566, checkST2110 } = require("sdpoker");

const files = JSON.parse(require("fs").readFileSync(0, "utf8"));
const strict = { nmos: true, should: true, checkEndings: true, whitespace: true, shaping: true, noCopy: true, videoOnly: true };
const told = {};
for (const [name, text] of Object.entries(files))
  told[name] = [...checkRFC4566(text, strict), ...checkST2110(text, strict)].map((error) => error.message);
process.stdout.write(JSON.stringify(told));
