package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
	"go.yaml.in/yaml/v4"
)

// resolved is what `holdfast config` shows: the whole app as it will be asked for, without any content of secrets and
// configs.
type resolved struct {
	Name     string                      `json:"name"`
	Services map[string]resolvedService  `json:"services"`
	Networks map[string]holdfast.Network `json:"networks,omitempty"`
	Volumes  map[string]holdfast.Volume  `json:"volumes,omitempty"`
	Files    []resolvedFile              `json:"files,omitempty"`
	Notes    []Note                      `json:"notes,omitempty"`
}

type resolvedService struct {
	holdfast.Spec
	Source *holdfast.ImageSource `json:"source,omitempty"`
}

type resolvedFile struct {
	Name   string `json:"name"`
	Secret bool   `json:"secret,omitempty"`
	Digest string `json:"digest"`
	Bytes  int    `json:"bytes"`
}

func resolve(p *Project) resolved {
	d := p.Deployment
	out := resolved{
		Name: d.Name, Networks: d.Networks, Volumes: d.Volumes, Notes: p.Notes, Services: map[string]resolvedService{},
	}
	for _, spec := range d.Services {
		s := resolvedService{Spec: spec}
		if source, ok := p.Sources[spec.Name]; ok {
			s.Source = &source
		}
		out.Services[spec.Name] = s
	}
	for _, f := range d.Files {
		out.Files = append(out.Files, resolvedFile{Name: f.Name, Secret: f.Secret, Digest: f.Digest, Bytes: len(f.Data)})
	}
	return out
}

// ResolvedJSON renders the loaded app as JSON. Content of secrets and configs is not in it.
func ResolvedJSON(p *Project) ([]byte, error) {
	out, err := json.MarshalIndent(resolve(p), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("render app %s: %w", p.Name, err)
	}
	return append(out, '\n'), nil
}

// Resolved renders the loaded app as YAML, with comments that say which values are defaults and why each service is of
// its kind. Content of secrets and configs is not in it.
func Resolved(p *Project) ([]byte, error) {
	r := resolve(p)
	r.Notes = nil
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("render app %s: %w", p.Name, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	root, err := jsonNode(dec)
	if err != nil {
		return nil, fmt.Errorf("render app %s: %w", p.Name, err)
	}
	dropEmpty(root)
	if services, _, _ := step(root, "services", ""); services != nil {
		for i := 0; i+1 < len(services.Content); i += 2 {
			p.comment(services.Content[i].Value, services.Content[i+1])
		}
	}
	var out bytes.Buffer
	for _, n := range p.Notes {
		fmt.Fprintf(&out, "# %s\n", strings.ReplaceAll(n.String(), "\n", " "))
	}
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("render app %s: %w", p.Name, err)
	}
	return out.Bytes(), enc.Close()
}

// comment marks the defaults of a service, and folds the reason for its kind into a comment.
func (p *Project) comment(name string, service *yaml.Node) {
	drop(service, "name")
	if why, _, _ := step(service, "kindReason", ""); why != nil {
		if kind, _, _ := step(service, "kind", ""); kind != nil {
			kind.LineComment = "# " + why.Value
		}
		drop(service, "kindReason")
	}
	for _, path := range p.defaulted[name] {
		for _, full := range defaultPaths(path) {
			at := keyPath(strings.Split(full, "."))
			node := service
			for _, part := range at {
				if node != nil {
					node, _, _ = step(node, part, "")
				}
			}
			if node != nil && node.Kind == yaml.ScalarNode && node.LineComment == "" {
				node.LineComment = "# default"
			}
		}
	}
}

// defaultPaths are the places in a Spec of a default: a health check's are in both probes.
func defaultPaths(path string) []string {
	rest, ok := strings.CutPrefix(path, "health.")
	if !ok {
		return []string{path}
	}
	head, tail, _ := strings.Cut(rest, "_")
	if tail != "" {
		rest = head + strings.ToUpper(tail[:1]) + tail[1:]
	}
	return []string{"health.readiness." + rest, "health.liveness." + rest}
}

func drop(mapping *yaml.Node, key string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
			return
		}
	}
}

// jsonNode turns the next JSON value into YAML, with keys in their order.
func jsonNode(dec *json.Decoder) (*yaml.Node, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if v == '[' {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		for dec.More() {
			child, err := jsonNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := dec.Token()
		return n, err
	case string:
		n := &yaml.Node{}
		n.SetString(v)
		return n, nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(v.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: v.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// dropEmpty takes out mappings without keys, and nulls.
func dropEmpty(n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			dropEmpty(item)
		}
		return
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		value := n.Content[i+1]
		dropEmpty(value)
		if value.Tag == "!!null" || value.Kind == yaml.MappingNode && len(value.Content) == 0 {
			continue
		}
		kept = append(kept, n.Content[i], value)
	}
	n.Content = kept
}
