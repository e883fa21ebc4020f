package compose_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/compose"
)

var rewrite = flag.Bool("rewrite", false, "write what was got into testdata and the docs")

// A script is a text file: lines of options, then files, the last of which is what is wanted.
//
//	args: -p name --profile p web
//	env: NAME=value
//	-- compose.yaml --
//	services: …
//	-- want --
//	…
type script struct {
	head  string // options and comments, as written
	opt   compose.Options
	files []scriptFile
	want  string
}

type scriptFile struct{ name, text string }

func readScript(t *testing.T, name string) *script {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{opt: compose.Options{Platform: "linux/amd64"}}
	var at *string = &s.head
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(strings.TrimSpace(rest), " --") {
			file := strings.TrimSuffix(strings.TrimSpace(rest), " --")
			if file == "want" {
				at = &s.want
				continue
			}
			s.files = append(s.files, scriptFile{name: file})
			at = &s.files[len(s.files)-1].text
			continue
		}
		*at += line
	}
	s.options(t)
	return s
}

func (s *script) options(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(s.head) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "env: "); ok {
			s.opt.Env = append(s.opt.Env, rest)
		}
		rest, ok := strings.CutPrefix(line, "args: ")
		if !ok {
			continue
		}
		args := strings.Fields(rest)
		for i := 0; i < len(args); i++ {
			take := func(to *[]string) { i++; *to = append(*to, args[i]) }
			var one []string
			switch args[i] {
			case "-f":
				take(&s.opt.Files)
			case "-p":
				take(&one)
				s.opt.ProjectName = one[0]
			case "--project-directory":
				take(&one)
				s.opt.ProjectDir = one[0]
			case "--profile":
				take(&s.opt.Profiles)
			case "--env-file":
				take(&s.opt.EnvFiles)
			default:
				s.opt.Services = append(s.opt.Services, args[i])
			}
		}
	}
}

// unpack writes the script's files into a new directory named app and makes it the current one.
func (s *script) unpack(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range s.files {
		name := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(f.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if f.name == "stdin" {
			s.opt.Stdin = strings.NewReader(f.text)
		}
	}
	t.Chdir(dir)
}

// check compares what was got, or writes it down.
func (s *script) check(t *testing.T, name, got string) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got = strings.ReplaceAll(got, dir, "$DIR")
	if !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	if got == s.want {
		return
	}
	if !*rewrite {
		t.Errorf("got\n%s\nwant\n%s\n(go test ./compose -rewrite writes it down)", got, s.want)
		return
	}
	var out bytes.Buffer
	out.WriteString(s.head)
	for _, f := range s.files {
		out.WriteString("-- " + f.name + " --\n" + f.text)
	}
	out.WriteString("-- want --\n" + got)
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func scripts(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts in testdata/%s: %v", dir, err)
	}
	for i := range names {
		if names[i], err = filepath.Abs(names[i]); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// TestLoad loads each file of testdata/good and compares what Resolved prints.
func TestLoad(t *testing.T) {
	for _, name := range scripts(t, "good") {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			s := readScript(t, name)
			s.unpack(t)
			p, err := compose.Load(t.Context(), s.opt)
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			got, err := compose.Resolved(p)
			if err != nil {
				t.Fatalf("Resolved: %v", err)
			}
			s.check(t, name, string(got))
		})
	}
}

// TestBad loads each file of testdata/bad and compares the whole error.
func TestBad(t *testing.T) {
	names := scripts(t, "bad")
	if len(names) < 70 {
		t.Errorf("%d broken files, want 70 or more", len(names))
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			s := readScript(t, name)
			s.unpack(t)
			_, err := compose.Load(t.Context(), s.opt)
			if err == nil {
				t.Fatal("Load took it")
			}
			if kind := holdfast.KindOf(err); kind == nil {
				t.Errorf("the error is of no kind: %v", err)
			}
			s.check(t, name, err.Error())
		})
	}
}
