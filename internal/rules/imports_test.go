package rules

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfast/holdfast"

// floors are the module's top folders from the ground up. A package imports packages of lower floors only, and of its
// own folder; neighbours meet through the store or a small interface of the caller's.
var floors = []struct {
	why     string
	folders []string
}{
	{"the nouns, standard library only", []string{""}},
	{"capabilities that know nothing of each other", []string{"store", "image", "container", "network", "volume", "scale"}},
	{"pure decisions over the nouns and a snapshot", []string{"plan", "compose"}},
	{"the loops and the surfaces", []string{"control", "agent", "gateway", "session", "database", "api", "console", "kube"}},
	{"the wiring", []string{"daemon"}},
	{"the command line and the test rigs", []string{"internal"}},
	{"the programs", []string{"cmd", "bench", "examples"}},
}

// leaves may import nothing but the standard library and the packages named.
var leaves = map[string][]string{
	"network/ipam":             {},
	"container/linux/initproc": {"golang.org/x/sys/unix"},
	"container/logs":           {},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Standard", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/") {
			all = append(all, p)
		}
	}
}

// folder is the top folder of a package of the module; "" is the root.
func folder(path string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	top, _, _ := strings.Cut(rest, "/")
	return top
}

func floor(folder string) int {
	return slices.IndexFunc(floors, func(f struct {
		why     string
		folders []string
	},
	) bool {
		return slices.Contains(f.folders, folder)
	})
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		from := folder(p.ImportPath)
		if floor(from) < 0 {
			t.Errorf("%s is on no floor: add its folder to floors, and to ARCHITECTURE.md", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			to := folder(path)
			if to == from || floor(to) < floor(from) {
				continue
			}
			t.Errorf("%s imports %s: %s is not below %s (%s)", p.ImportPath, path, to, from, floors[floor(from)].why)
		}
	}
}

func TestTheRootImportsOnlyTheStandardLibrary(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != module {
			continue
		}
		for _, path := range p.Imports {
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
				t.Errorf("the root imports %s; it holds nouns only", path)
			}
		}
	}
}

func TestLeavesStayLeaves(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		permitted, leaf := leaves[name]
		if !leaf {
			continue
		}
		for _, path := range p.Imports {
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !slices.Contains(permitted, path) {
				t.Errorf("%s imports %s; it is a leaf so that others, or a re-executed self, stay small", name, path)
			}
		}
	}
}

// The supervisor is one small process per node; what it links is what every container's parent costs.
func TestTheSupervisorStaysSmall(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != module+"/container/supervisor" {
			continue
		}
		for _, dep := range p.Deps {
			for _, heavy := range []string{"google.golang.org/grpc", "go.etcd.io/", "net/http"} {
				if strings.HasPrefix(dep, heavy) {
					t.Errorf("container/supervisor depends on %s", dep)
				}
			}
		}
	}
}
