//! What the YAML parser's words mean for the one who has the file open in an editor. The parser
//! speaks of tokens, scalars and indicators, and of what it was doing when it met them.

/// A piece of the parser's words, and what to look for in the file. The first that fits counts.
const WORDS: [(&str, &str); 25] = [
    (
        "found character that cannot start any token",
        "a value can't begin with @, %, ` or a tab: put it in quotes, and indent with spaces",
    ),
    (
        "found a tab character",
        "there is a tab: indent with spaces",
    ),
    (
        "mapping values are not allowed in this context",
        "a `key: value` stands where none can be: put a value with `: ` in it in quotes, and check \
         the indentation",
    ),
    (
        "block sequence entries are not allowed",
        "a `- ` stands where none can be: check the indentation",
    ),
    (
        "block mapping",
        "a key is not indented as its neighbours, or its `:` is missing: check the indentation",
    ),
    (
        "block collection",
        "a list's item is not indented as its neighbours: check the indentation",
    ),
    (
        "flow sequence",
        "a list in brackets does not end: close it with ], and part its items by commas",
    ),
    (
        "flow mapping",
        "a mapping in braces does not end: close it with }, and part its keys by commas",
    ),
    (
        "simple key",
        "a `key: value` has no `: ` behind its key, or its value goes on in another line: put it in \
         quotes",
    ),
    (
        "found unexpected end of stream",
        "a text in quotes does not end: close it with the same quote",
    ),
    (
        "found unknown escape character",
        "a backslash in double quotes needs a second one, or single quotes",
    ),
    (
        "quoted scalar",
        "a text in quotes is not as YAML has it: put it in single quotes, and double each of those \
         in it",
    ),
    (
        "unknown anchor",
        "a * names an anchor that is not there: put a value that begins with * in quotes",
    ),
    (
        "undefined alias",
        "a * names an anchor that is not there: put a value that begins with * in quotes",
    ),
    (
        "scanning an alias",
        "a value that begins with * names an anchor: put it in quotes",
    ),
    (
        "scanning an anchor",
        "a value that begins with & is an anchor's name: put it in quotes",
    ),
    (
        "tag",
        "a value that begins with ! is a tag's name: put it in quotes",
    ),
    (
        "directive",
        "a line that begins with % is a directive: put such a value in quotes",
    ),
    (
        "block scalar",
        "behind | or > stands a text in lines of its own, indented: put a value that begins so in \
         quotes",
    ),
    (
        "plain scalar",
        "a value without quotes holds what YAML takes for its own: put it in quotes",
    ),
    (
        "control characters are not allowed",
        "there is a control character: was the file copied from a terminal?",
    ),
    (
        "more than one document",
        "there are several documents in it: leave the one that Anchore reads (before `---`)",
    ),
    (
        "recursion limit",
        "it is nested deeper than any file of Anchore's",
    ),
    (
        "did not find expected",
        "the line, or the one above, is not as YAML has it: check quotes and indentation",
    ),
    ("UTF-8", "it is not text in UTF-8: is it the right file?"),
];

/// The sentence for the parser's words; none where they are clear by themselves.
pub(super) fn explained(said: &str) -> Option<&'static str> {
    let fits = |(words, _): &&(&str, &str)| said.contains(words);
    WORDS.iter().find(fits).map(|(_, sentence)| *sentence)
}
