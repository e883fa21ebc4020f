//go:build linux

package slim

import "testing"

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		line       string
		start, end uintptr
		ok         bool
	}{
		{"00401000-00402000 r-xp 00001000 fe:00 247741                     /usr/bin/holdfast\n", 0x401000, 0x402000, true},
		{"00402000-00403000 r--p 00002000 fe:00 247741                     /usr/bin/holdfast (deleted)\n", 0x402000, 0x403000, true},
		{"00403000-00404000 rw-p 00003000 fe:00 247741                     /usr/bin/holdfast\n", 0, 0, false},
		{"00403000-00404000 r--s 00003000 fe:00 247741                     /usr/bin/holdfast\n", 0, 0, false},
		{"7ffc1000-7ffc2000 r--p 00000000 00:00 0                          [vvar]\n", 0, 0, false},
		{"c000000000-c000400000 r--p 00000000 00:00 0 \n", 0, 0, false},
		{"nonsense\n", 0, 0, false},
	} {
		start, end, ok := parse(tc.line)
		if ok != tc.ok || ok && (start != tc.start || end != tc.end) {
			t.Errorf("%q: %#x %#x %v", tc.line, start, end, ok)
		}
	}
}

// TestDown: the program, and what it keeps, goes on.
func TestDown(t *testing.T) {
	kept := []string{"a", "b"}
	for range 3 {
		if err := Down(); err != nil {
			t.Fatal(err)
		}
		if kept[0]+kept[1] != "ab" {
			t.Fatalf("%q", kept)
		}
	}
}
