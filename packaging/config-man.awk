# Makes tailnas.toml(5) of docs/CONFIG.md, which tests hold to the program:
#   awk -f packaging/config-man.awk docs/CONFIG.md > tailnas.toml.5

BEGIN {
    print ".TH TAILNAS.TOML 5 \"\" tailnas \"File Formats Manual\""
    print ".SH NAME\ntailnas.toml \\- the configuration of tailnas, /etc/tailnas/config.toml\n.SH DESCRIPTION"
}

function inline(text) {
    gsub(/\\\|/, "|", text)
    gsub(/\\/, "\\e", text)
    while (match(text, /\[[^]]*\]\([^)]*\)/)) {
        words = substr(text, RSTART + 1, index(substr(text, RSTART), "](") - 2)
        text = substr(text, 1, RSTART - 1) words substr(text, RSTART + RLENGTH)
    }
    while (match(text, /`[^`]*`|\*\*[^*]*\*\*/)) {
        width = substr(text, RSTART, 1) == "`" ? 1 : 2
        words = substr(text, RSTART + width, RLENGTH - 2 * width)
        text = substr(text, 1, RSTART - 1) "\\fB" words "\\fR" substr(text, RSTART + RLENGTH)
    }
    sub(/^[.']/, "\\\\\\&&", text)
    return text
}

/^```/ {
    fenced = !fenced
    print fenced ? ".PP\n.RS 4\n.nf" : ".fi\n.RE"
    next
}
fenced { gsub(/\\/, "\\e"); sub(/^[.']/, "\\\\\\&&"); print; next }
/^# / { next }
/^## / { print ".SH \"" inline(substr($0, 4)) "\""; next }
/^### / { print ".SS \"" inline(substr($0, 5)) "\""; next }
/^\|[ -]*\|[ |-]*$/ { heading = 0; next }
/^\|/ {
    # The first row of a table is its heading.
    if (!in_table) { in_table = 1; next }
    row = $0
    gsub(/\\\|/, "\001", row)
    cells = split(row, cell, /[ ]*\|[ ]*/)
    text = ""
    for (i = 3; i < cells; i++) { gsub(/\001/, "|", cell[i]); text = text (text == "" || cell[i] == "" ? "" : ". ") cell[i] }
    gsub(/\001/, "|", cell[2])
    print ".TP\n" inline(cell[2]) "\n" (text == "" ? "\\&" : inline(text))
    next
}
{ in_table = 0 }
/^$/ { print ".PP"; next }
/^- / { print ".IP \\(bu 2\n" inline(substr($0, 3)); next }
{ print inline($0) }
