"""The MCP server: actions and playbooks as tools of an AI agent, over standard input and output."""
