package cli

import (
	"io"
	"strings"
	"unicode/utf8"
)

// table prints rows in columns that are as wide as their widest cell; the last column is not filled up. Cells may hold
// colours.
type table struct {
	rows [][]string
}

func newTable(head ...string) *table { return &table{rows: [][]string{head}} }

func (t *table) row(cells ...string) {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(w io.Writer) error {
	_, err := io.WriteString(w, strings.Join(t.lines(), "\n")+"\n")
	return err
}

func (t *table) lines() []string {
	widths := map[int]int{}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], displayWidth(c))
		}
	}
	var out []string
	for _, row := range t.rows {
		var b strings.Builder
		for i, c := range row {
			b.WriteString(c)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-displayWidth(c)+3))
			}
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}

// displayWidth counts the characters of s that show: colours do not.
func displayWidth(s string) int {
	n := 0
	for s != "" {
		if skip := escapeLen(s); skip > 0 {
			s = s[skip:]
			continue
		}
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		n++
	}
	return n
}

// escapeLen is the length of the colour sequence that s starts with, or 0.
func escapeLen(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	if end := strings.IndexByte(s, 'm'); end > 0 {
		return end + 1
	}
	return 0
}

// clip cuts s to width characters that show, and ends its colours.
func clip(s string, width int) string {
	if displayWidth(s) <= width {
		return s
	}
	var b strings.Builder
	for n := 0; n < width-1; {
		if skip := escapeLen(s); skip > 0 {
			b.WriteString(s[:skip])
			s = s[skip:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		b.WriteRune(r)
		s = s[size:]
		n++
	}
	out := b.String() + "…"
	if strings.Contains(out, "\x1b[") {
		out += "\x1b[0m"
	}
	return out
}
