package cli

import "time"

// AgentOptions are the flags of holdfast agent.
type AgentOptions struct {
	DataDir      string
	RunDir       string
	NodeName     string
	Labels       map[string]string
	HTTP         string
	Registry     string
	CgroupParent string
	AccessLog    bool
	HoldFor      time.Duration
	PoolMin      int
	PoolMax      int
	LogFormat    string
	LogLevel     string
}
