package compose

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast/holdfast"
	"go.yaml.in/yaml/v4"
)

// document is one YAML document of a Compose file.
type document struct {
	name string     // of the file, as shown to the user
	file string     // absolute; "-" for standard input
	dir  string     // what relative paths in it are relative to
	root *yaml.Node // a mapping
	env  map[string]string
	// chain are the files that led here by include, the main one first.
	chain []string
	// role says why it was read.
	role role
}

type role int

const (
	mainFile role = iota
	includedFile
	extendedFile
)

// files are all documents that one Load reads, so that a key can be found again.
type files struct {
	docs     []*document            // main and included ones, the one that wins in a merge first
	extended map[string][]*document // by absolute name
}

// position in a file.
type position struct {
	file string
	line int
}

// maxFile bounds what is read of a Compose file: nobody writes 16 MiB of YAML, and /dev/zero has more.
const maxFile = 16 << 20

// readSource reads a Compose file, or standard input for "-".
func readSource(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		if stdin == nil {
			stdin = os.Stdin
		}
		return readAll(stdin)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "it is a directory; name the file in it")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "it is larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

// parse splits data into its YAML documents.
func (l *loading) parse(name, file, dir string, data []byte, as role, env map[string]string) []*document {
	var docs []*document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		err := decodeNode(dec, &node)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			line, reason := yamlError(err)
			l.problems = append(l.problems, Problem{File: name, Line: line, Reason: reason, Kind: holdfast.ErrInvalid})
			l.broken = true
			return docs
		}
		root := &node
		if root.Kind == yaml.DocumentNode {
			if len(root.Content) == 0 {
				continue
			}
			root = root.Content[0]
		}
		if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
			continue
		}
		if root.Kind != yaml.MappingNode {
			l.problems = append(l.problems, Problem{
				File: name, Line: root.Line, Kind: holdfast.ErrInvalid,
				Reason: "not a Compose file: the top level must be a mapping with keys such as services",
			})
			l.broken = true
			return docs
		}
		if line := circle(root, map[*yaml.Node]int{}); line > 0 {
			l.problems = append(l.problems, Problem{
				File: name, Line: line, Kind: holdfast.ErrInvalid, Reason: "not valid YAML here: an alias stands for what it is in",
			})
			l.broken = true
			return docs
		}
		docs = append(docs, &document{name: name, file: file, dir: dir, root: root, env: env, role: as})
	}
}

// circle returns the line of an alias that stands for a node which contains it, or 0. state is 1 for nodes that are
// being looked into and 2 for those that are done.
func circle(n *yaml.Node, state map[*yaml.Node]int) int {
	if n == nil || state[n] == 2 {
		return 0
	}
	if state[n] == 1 {
		return n.Line
	}
	state[n] = 1
	if n.Kind == yaml.AliasNode && state[n.Alias] == 1 {
		return n.Line
	}
	for _, child := range slices.Concat(n.Content, []*yaml.Node{n.Alias}) {
		if line := circle(child, state); line > 0 {
			return line
		}
	}
	state[n] = 2
	return 0
}

// decodeNode is dec.Decode with the library's panics on hostile input made errors.
func decodeNode(dec *yaml.Decoder, node *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("yaml: the document cannot be parsed")
		}
	}()
	return dec.Decode(node)
}

var yamlLine = regexp.MustCompile(`(?: at)?(?: <unknown position>:)? ?line (\d+)(?:, column \d+)?:? ?`)

// yamlError takes the line out of an error of the YAML library: the last that it names, where it could not go on.
func yamlError(err error) (int, string) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "construct errors: ")
	line := 0
	for _, m := range yamlLine.FindAllStringSubmatch(text, -1) {
		line, _ = strconv.Atoi(m[1])
	}
	text = strings.TrimSpace(yamlLine.ReplaceAllString(text, ": "))
	text = strings.Trim(strings.ReplaceAll(text, ": : ", ": "), ": ")
	return line, "not valid YAML: " + text
}

// displayName is name relative to the current directory where that is shorter to read.
func displayName(name string) string {
	if name == "-" {
		return "<stdin>"
	}
	cwd, err := os.Getwd()
	if err != nil {
		return name
	}
	rel, err := filepath.Rel(cwd, name)
	if err != nil || strings.HasPrefix(rel, "../../..") {
		return name
	}
	return rel
}
