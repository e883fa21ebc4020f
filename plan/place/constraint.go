package place

import (
	"runtime"
	"strings"

	"github.com/holdfast/holdfast"
)

const labelPrefix = "node.labels."

// Check returns an error of kind ErrInvalid when a constraint cannot be understood. Understood are node.id,
// node.hostname, node.name, node.role, node.platform.os, node.platform.arch and node.labels.<label>, compared with == or
// !=.
func Check(constraints []string) error {
	for _, c := range constraints {
		key, _, _, ok := split(c)
		if !ok {
			return holdfast.Errorf(holdfast.ErrInvalid, "placement constraint %q: not of the form <key> == <value> or <key> != <value>", c)
		}
		if _, known := attribute(&holdfast.Node{}, key); !known {
			return holdfast.Errorf(holdfast.ErrInvalid, "placement constraint %q: no such key %q", c, key)
		}
	}
	return nil
}

// unmet returns the first constraint that n does not meet, or "".
func unmet(n *holdfast.Node, constraints []string) string {
	for _, c := range constraints {
		key, value, equal, _ := split(c)
		if meets(n, key, value) != equal {
			return c
		}
	}
	return ""
}

func split(constraint string) (key, value string, equal, ok bool) {
	key, value, equal = strings.Cut(constraint, "==")
	if !equal {
		if key, value, ok = strings.Cut(constraint, "!="); !ok {
			return "", "", false, false
		}
	}
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	return key, value, equal, key != "" && value != ""
}

func meets(n *holdfast.Node, key, value string) bool {
	if key == "node.role" { // every node is both
		return value == "manager" || value == "worker"
	}
	have, _ := attribute(n, key)
	return have == value
}

func attribute(n *holdfast.Node, key string) (value string, known bool) {
	switch key {
	case "node.id":
		return n.ID, true
	case "node.hostname", "node.name":
		return n.Name, true
	case "node.role":
		return "", true
	case "node.platform.os":
		return "linux", true
	case "node.platform.arch": // all nodes run the same binary
		return runtime.GOARCH, true
	}
	label, ok := strings.CutPrefix(key, labelPrefix)
	return n.Labels[label], ok && label != ""
}
