"""Jobs: create one per request, wait, cancel, and stop a job that finds more than planned.

The call order from create-move-job to the POST:

1. request.request_job is the whole create: checks, job, discovery limit.
2. clearance.propose_job checks the guardrails that need no count, and the plan.
3. creation.create_job_once does steps 4 to 8.
4. job_list.JobList finds jobs by the request's tag (list_layout: where new jobs appear). If there is one, go to step 7.
5. clearance.clear_job counts the messages, and checks limits, drift, approvals and budgets.
6. creation sends one POST. After a lost answer, the list is checked before a second POST.
7. settling.Race keeps the earliest of several jobs and cancels the others (cancelling.cancel_and_confirm).
8. reuse.reusable_job compares a job that this call did not create with the request (match.differences).
9. discovery_limit.DiscoveryWatch polls the job and cancels it over the limit (job_of_plan: was it made from the plan?).
10. reused_job.describe_reused_job reports a reused job, and remaining.count_remaining counts what it left.

wait-for-job: waiting.wait_for_end polls the job (polling, progress, wait_state).
following.replacement_of finds the job to poll instead of a job that was cancelled as a duplicate. rows reads the
message rows, and row_count compares their number with the counters.
"""
