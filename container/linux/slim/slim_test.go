//go:build linux

package slim

import (
	"os/user"
	"reflect"
	"testing"
)

const smaps = `00401000-00402000 r-xp 00001000 fe:00 247741                     /usr/bin/holdfast
Size:                  4 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me sd
00402000-00403000 r--p 00002000 fe:00 247741                     /usr/bin/holdfast (deleted)
Anonymous:             0 kB
Swap:                  0 kB
00403000-00404000 r--p 00002000 fe:00 247741                     /usr/lib/relocated.so
Anonymous:             4 kB
Swap:                  0 kB
00404000-00405000 r--p 00002000 fe:00 247741                     /usr/lib/relocated.so
Anonymous:             0 kB
Swap:                  4 kB
00405000-00406000 rw-p 00003000 fe:00 247741                     /usr/bin/holdfast
Anonymous:             0 kB
Swap:                  0 kB
00406000-00407000 r--s 00003000 fe:00 247741                     /usr/bin/holdfast
Anonymous:             0 kB
Swap:                  0 kB
7ffc1000-7ffc2000 r--p 00000000 00:00 0                          [vvar]
Anonymous:             0 kB
Swap:                  0 kB
c000000000-c000400000 r--p 00000000 00:00 0 
Anonymous:             0 kB
Swap:                  0 kB
nonsense
`

func TestClean(t *testing.T) {
	want := []mapping{{0x401000, 0x402000}, {0x402000, 0x403000}}
	if got := clean(smaps); !reflect.DeepEqual(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestDown: the program, and its C library if it has one, go on.
func TestDown(t *testing.T) {
	kept := []string{"a", "b"}
	for range 3 {
		if err := Down(); err != nil {
			t.Fatal(err)
		}
		if _, err := user.LookupId("0"); err != nil || kept[0]+kept[1] != "ab" {
			t.Fatalf("%q, %v", kept, err)
		}
	}
}
