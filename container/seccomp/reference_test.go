package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// reference is the helper around libseccomp, built once; its directory goes away with the process's temporary files.
var reference = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "seccomp-reference")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "reference")
	out, err := exec.Command("gcc", "-O1", "-o", bin, "testdata/reference.c", "-lseccomp").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build reference: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := reference(); err == nil {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

func referenceBinary(t testing.TB) string {
	t.Helper()
	for _, need := range []string{"/usr/include/seccomp.h", "/usr/bin/gcc"} {
		if _, err := os.Stat(need); err != nil {
			t.Skip("the comparison with libseccomp needs gcc and libseccomp-dev:", err)
		}
	}
	bin, err := reference()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// tokens are libseccomp's names of the architectures.
var tokens = map[*abi]uint32{
	x8664: unix.AUDIT_ARCH_X86_64, x86: unix.AUDIT_ARCH_I386, x32: 0x4000003e,
	arm64: unix.AUDIT_ARCH_AARCH64, arm: unix.AUDIT_ARCH_ARM,
}

var referenceOps = map[specs.LinuxSeccompOperator]int{
	specs.OpNotEqual: 1, specs.OpLessThan: 2, specs.OpLessEqual: 3, specs.OpEqualTo: 4, specs.OpGreaterEqual: 5,
	specs.OpGreaterThan: 6, specs.OpMaskedEqual: 7,
}

// referenceFilter compiles profile for goarch with libseccomp and returns the names that it does not know.
func referenceFilter(t testing.TB, profile *specs.LinuxSeccomp, goarch string) (filter []unix.SockFilter, unknown []string, err error) {
	t.Helper()
	var in bytes.Buffer
	fallback, err := actionOf(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		t.Fatal(err)
	}
	abis, err := abisOf(profile.Architectures, goarch)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&in, "default", fallback)
	for _, a := range abis {
		fmt.Fprintln(&in, "arch", tokens[a])
	}
	if goarch != "amd64" {
		fmt.Fprintln(&in, "drop", tokens[x8664])
	}
	for _, call := range profile.Syscalls {
		writeRules(t, &in, call, fallback)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(referenceBinary(t), "filter")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, nil, fmt.Errorf("%w: %s", err, errs.String())
	}
	filter = make([]unix.SockFilter, out.Len()/8)
	if err := binary.Read(&out, binary.LittleEndian, filter); err != nil {
		t.Fatal(err)
	}
	return filter, strings.Fields(errs.String()), nil
}

// writeRules writes call as runc gives it to libseccomp.
func writeRules(t testing.TB, in *bytes.Buffer, call specs.LinuxSyscall, fallback uint32) {
	t.Helper()
	action, err := actionOf(call.Action, call.ErrnoRet)
	if err != nil {
		t.Fatal(err)
	}
	if action == fallback {
		return
	}
	groups := [][]specs.LinuxSeccompArg{call.Args}
	if twice(call.Args) {
		groups = slices.Collect(slices.Chunk(call.Args, 1))
	}
	for _, name := range call.Names {
		for _, args := range groups {
			fmt.Fprint(in, "rule ", action, " ", name, " ", len(args))
			for _, a := range args {
				fmt.Fprint(in, " ", a.Index, " ", referenceOps[a.Op], " ", a.Value, " ", a.ValueTwo)
			}
			fmt.Fprintln(in)
		}
	}
}

func twice(args []specs.LinuxSeccompArg) bool {
	seen := map[uint]bool{}
	for _, a := range args {
		if seen[a.Index] {
			return true
		}
		seen[a.Index] = true
	}
	return false
}

// TestNumbers compares the table with libseccomp's for all calls that it knows.
func TestNumbers(t *testing.T) {
	order := []*abi{x8664, x86, x32, arm64, arm}
	args := []string{"numbers"}
	for _, a := range order {
		args = append(args, fmt.Sprint(tokens[a]))
	}
	cmd := exec.Command(referenceBinary(t), args...)
	cmd.Stdin = strings.NewReader(strings.Join(sortedKeys(numbers()), "\n"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range strings.Lines(string(out)) {
		var name string
		got := make([]int64, len(order))
		if _, err := fmt.Sscan(line, &name, &got[0], &got[1], &got[2], &got[3], &got[4]); err != nil {
			t.Fatal(err)
		}
		if slices.Max(got) < 0 {
			continue
		}
		for i, a := range order {
			want, ok := a.number(name)
			if _, muxed := subcalls[name]; got[i] < 0 && a.muxed && muxed {
				continue // libseccomp has a number of its own, for both ways
			}
			if got[i] >= 0 && (!ok || got[i] != int64(want)) || got[i] < 0 && ok {
				t.Errorf("%s on %s: libseccomp has %d, we have %d, %v", name, a.arch, got[i], want, ok)
			}
			compared++
		}
	}
	if compared < 1500 {
		t.Errorf("compared only %d numbers", compared)
	}
}
