"""The KFP pipelines of a project, their components, and what runs inside of a component's container."""
