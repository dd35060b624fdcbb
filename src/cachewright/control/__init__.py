"""Who turns a plan into effects? The loop: take, observe, plan, execute, record."""
