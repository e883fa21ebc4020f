package cli

import (
	"hash/fnv"
	"strconv"
)

// style colours text when it is on.
type style struct{ on bool }

func (s style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) red(text string) string    { return s.paint("31", text) }
func (s style) green(text string) string  { return s.paint("32", text) }
func (s style) yellow(text string) string { return s.paint("33", text) }
func (s style) bold(text string) string   { return s.paint("1", text) }
func (s style) dim(text string) string    { return s.paint("2", text) }

// palette is what names are told apart by: colours that are readable on dark and on light.
var palette = []int{36, 32, 33, 35, 34, 96, 92, 93, 95, 94}

// named colours text by a name, the same each time.
func (s style) named(name, text string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return s.paint(strconv.Itoa(palette[h.Sum32()%uint32(len(palette))]), text)
}
